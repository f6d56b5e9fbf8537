"""Which of a question's choices a reply names: by its letter, its text, its value, or yes and no.

MathVista takes the choice with the fewest edits, however many they are, so that any reply names
one. Here a choice is named only if each of its words is in the reply, but for an edit in four
letters; a reply that names none or several is wrong.
"""

import re
import string
from collections.abc import Sequence

from shared.grading.extract import extract_answer
from shared.grading.grade import canonical, same_answer
from shared.grading.kinds.text import read_text
from shared.grading.readings import read_start

_NEGATED = re.compile(r"\b(?:not|no|never|neither|nor|none|without|[a-z]+n't)\b|[不没无非]")
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_FILLING = frozenset(
    ["a", "an", "the", "of", "in", "on", "at", "to", "is", "are", "was", "were", "it", "and", "or"]
)
_LETTERS_PER_EDIT = 4
_MOST_WORDS = 60
_MOST_SENTENCE_CHARS = 300
_FAR = 99


def letters_of(choices: Sequence[str]) -> str:
    """One capital for each choice."""
    return string.ascii_uppercase[: len(choices)]


def lettered_choice(response: str, choices: Sequence[str]) -> str | None:
    """The letter that a response gives as its answer, if it is one of the choices'."""
    answer = extract_answer(response, "letter", strict=False)
    letter = None if answer is None else canonical(answer, "letter")
    return letter if letter is not None and letter in letters_of(choices) else None


def named_choice(response: str, choices: Sequence[str]) -> tuple[str | None, str | None]:
    """The final answer as it reads in the response, and the letter of the choice that it names."""
    letter = lettered_choice(response, choices)
    if letter is not None:
        return extract_answer(response, "letter", strict=False), letter
    answer = extract_answer(response, "boolean", strict=False)
    said = None if answer is None else canonical(answer, "boolean")
    if said is not None and said in (forms := [_yes_or_no(choice) for choice in choices]):
        return answer, letters_of(choices)[forms.index(said)] if forms.count(said) == 1 else None
    answer = extract_answer(response, "text", strict=False)
    if answer is not None:
        return answer, _by_text(answer, choices)
    last = re.split(r"(?<=[.!?。])\s|\n", response.strip())[-1]
    letter = (
        _by_words(read_text(last) or "", choices) if len(last) <= _MOST_SENTENCE_CHARS else None
    )
    return (None if letter is None else last), letter


def same_choice(one: str, other: str, choices: Sequence[str]) -> bool:
    """Whether two letters stand for the same text: some questions list a choice twice."""
    listed = letters_of(choices)
    if one == other or one not in listed or other not in listed:
        return one == other
    texts = [read_text(choices[listed.index(letter)]) for letter in (one, other)]
    return texts[0] is not None and texts[0] == texts[1]


def _yes_or_no(choice: str) -> str | None:
    reading = read_start(choice, "boolean")
    return None if reading is None else reading.form


def _by_text(answer: str, choices: Sequence[str]) -> str | None:
    text, texts = read_text(answer), [read_text(choice) for choice in choices]
    if text is None:
        return None
    for letter, choice, written in zip(letters_of(choices), texts, choices, strict=True):
        if text == choice or (
            canonical(written, "number") and same_answer(answer, written, "number")
        ):
            return letter
    return _by_words(text, choices)


def _by_words(text: str, choices: Sequence[str]) -> str | None:
    """The choice whose words are all in the text; of several, the one with the most words."""
    said = _WORD.findall(text)[-_MOST_WORDS:]
    found: dict[frozenset[str], tuple[int, str]] = {}
    for letter, choice in zip(letters_of(choices), choices, strict=True):
        words = frozenset(_WORD.findall(read_text(choice) or "")) - _FILLING
        edits = _edits(words, said)
        if words and edits is not None:
            found.setdefault(words, (edits, letter))
    named = [words for words in found if not any(words < other for other in found)]
    fewest = min((found[words][0] for words in named), default=0)
    nearest = [words for words in named if found[words][0] == fewest]
    if len(nearest) != 1:
        return None
    denied = _NEGATED.search(text) and not _NEGATED.search(" ".join(nearest[0]))
    return None if denied else found[nearest[0]][1]


def _edits(words: frozenset[str], said: Sequence[str]) -> int | None:
    """How many edits turn words of the reply into all of `words`; None when one has no match."""
    distances = {word: min((_distance(one, word) for one in said), default=_FAR) for word in words}
    allowed = all(edits <= len(word) // _LETTERS_PER_EDIT for word, edits in distances.items())
    return sum(distances.values()) if allowed else None


def _distance(one: str, other: str) -> int:
    """Edits between two words; numbers are equal or far apart."""
    if one == other:
        return 0
    if one[0].isdigit() or other[0].isdigit() or not one.isascii() or not other.isascii():
        return _FAR
    if abs(len(one) - len(other)) > len(other) // _LETTERS_PER_EDIT:
        return _FAR
    row = list(range(len(other) + 1))
    for count, left in enumerate(one, start=1):
        before, row = row, [count]
        for place, right in enumerate(other):
            row.append(min(before[place] + (left != right), before[place + 1] + 1, row[place] + 1))
    return row[-1]
