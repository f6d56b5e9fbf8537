"""A benchmark's question with what its score needs, and how rows become questions."""

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.grading.kinds.letter import read_letter
from shared.grading.kinds.number import read_number
from shared.permutation import ORDINALS
from shared.sample import IMAGE_TAG, AnswerKind, OrderRule, Sample
from shared.words import amount

ScoreRule = Literal["kind", "choice", "value", "letters", "rounded", "truncated", "list", "steps"]
"""How an answer is compared with the gold answer (``scoring.py``).

``kind``: as the reward service does for the sample's kind. ``choice``: a letter, else the choice
that the reply names. ``value``: a letter, else the value of the right choice. ``letters``: all
letters of the gold answer and no other. ``rounded``: numbers, after rounding to the asked
precision. ``truncated``: numbers, without their decimals. ``list``: item by item, in order.
``steps``: every numbered part.
"""


@dataclass(frozen=True)
class Item:
    """One question of a benchmark. Its task is ``sample.source``."""

    sample: Sample
    rule: ScoreRule = "kind"
    absolute: float | None = None
    """For kind "math": two plain numbers are equal if they differ by no more than this."""
    precision: int = 0
    """Decimals that rule "rounded" keeps."""
    choices: tuple[str, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)
    """Columns, with this item's value, by which the summary is broken down besides the task."""


@dataclass(frozen=True)
class Benchmark:
    """How one benchmark is read and scored."""

    name: str
    title: str
    split: str
    """The split that published numbers are on."""
    published: int
    """Questions in that split."""
    average: Literal["micro", "macro"]
    """micro: over all questions. macro: the mean of the tasks' accuracies."""
    compares: str
    """What counts as right, in words."""
    to_item: Callable[[Row, Pictures], Item]
    answer_column: str = "answer"


_YES_OR_NO = ("yes", "no", "true", "false")
_LABELLED = re.compile(r"\s*\(?([A-Z])\s?[).:]\s*", re.ASCII)


def letters(row: Row, choices: Sequence[str]) -> str:
    """The letters of the choices in the row's column ``choices``.

    Raises:
        UserError: when there are fewer than two choices, or more than letters.
    """
    if not 2 <= len(choices) <= 26:
        problem = f"{len(choices)} options; there must be 2 to 26"
        raise row.bad("choices", "there must be 2 to 26 options", problem)
    return string.ascii_uppercase[: len(choices)]


def without_labels(choices: Sequence[str]) -> list[str]:
    """The choices, stripped of ``(A)``, ``B.`` or ``C:`` in front if all of them have one."""
    found = [_LABELLED.match(choice) for choice in choices]
    labels = "".join(match[1] if match else "-" for match in found)
    if labels != string.ascii_uppercase[: len(choices)]:
        return list(choices)
    return [_LABELLED.sub("", choice, count=1) for choice in choices]


def lettered(choices: Sequence[str]) -> str:
    """The options as lines ``A. ...``, each after a line break."""
    pairs = zip(string.ascii_uppercase, choices, strict=False)
    return "".join(f"\n{letter}. {choice}" for letter, choice in pairs)


def gold_letter(row: Row, choices: Sequence[str]) -> str:
    """The letter in the row's column ``answer``, of one of the choices.

    Raises:
        UserError: when it is the letter of no choice.
    """
    listed = letters(row, choices)
    letter = read_letter(row.text("answer"))
    if letter is None or letter not in listed:
        problem = f"'{row.text('answer')[:40]}' is none of {', '.join(listed)}"
        raise row.bad("answer", "is none of the options' letters", problem)
    return letter


def any_letter(row: Row, column: str) -> str:
    """The letter in `column`, whatever the choices are.

    Raises:
        UserError: when the column holds no letter.
    """
    letter = read_letter(row.text(column))
    if letter is None:
        raise row.bad(column, "is no letter", f"'{row.text(column)[:40]}' is no letter")
    return letter


def padded_left(text: str, images: int, row: Row) -> str:
    """Put the image tags that `text` lacks in front of it, so that it has one for each image.

    Raises:
        UserError: when it has more tags than there are images.
    """
    missing = images - text.count(IMAGE_TAG)
    if missing < 0:
        problem = f"{text.count(IMAGE_TAG)} {IMAGE_TAG} tags for {amount(images, 'image')}"
        raise row.bad("question", f"has more {IMAGE_TAG} tags than images", problem)
    return IMAGE_TAG * missing + ("\n" if missing and text else "") + text


_NUMBERED = re.compile(r"<image[ _]?(\d{1,2})>")


def interleaved(row: Row, images: int) -> tuple[str, list[int]]:
    """The row's question, with ``<image1>`` or ``<image_1>`` replaced by image tags.

    An image is shown where the text first names it. Later mentions become "image k", where k is the
    image's place in the prompt. Images that are never named come first.

    Returns the text, and the images' indices in the order in which the text now shows them.

    Raises:
        UserError: when the text names an image that does not exist, or has a tag without a number.
    """
    text = row.text("question")
    _check_numbered(text, row)
    named = list(dict.fromkeys(int(number) - 1 for number in _NUMBERED.findall(text)))
    for index in named:
        if not 0 <= index < images:
            problem = f"names image {index + 1} of {images}"
            raise row.bad("question", "names an image that does not exist", problem)
    shown = [index for index in range(images) if index not in named] + named
    seen: set[int] = set()

    def tag(match: re.Match[str]) -> str:
        index = int(match[1]) - 1
        if index in seen:
            return f"image {shown.index(index) + 1}"
        seen.add(index)
        return IMAGE_TAG

    return padded_left(_NUMBERED.sub(tag, text), images, row), shown


def one_image(text: str, row: Row) -> str:
    """As `interleaved`, for one picture whose parts the tags name: MathVision's."""
    _check_numbered(text, row)
    named = list(dict.fromkeys(_NUMBERED.findall(text)))
    if len(named) == 1:
        first, _, rest = _NUMBERED.sub(IMAGE_TAG, text).partition(IMAGE_TAG)
        return first + IMAGE_TAG + rest.replace(IMAGE_TAG, "image 1")
    # Several parts of one picture: the picture comes first, and the text names them by number.
    return IMAGE_TAG + "\n" + _NUMBERED.sub(lambda match: f"image {match[1]}", text)


def _check_numbered(text: str, row: Row) -> None:
    if IMAGE_TAG in text:
        raise row.bad("question", f"has a tag {IMAGE_TAG} that names no image; number the tags")


_PLACE_NAME = re.compile(
    rf"(?:the\s)?(?:(?P<word>{'|'.join(ORDINALS)})\s(?:image|picture|photo|figure)"
    r"|(?:image|picture|photo|figure)\s?#?(?P<number>\d))\.?",
    re.IGNORECASE | re.ASCII,
)


def image_options(choices: Sequence[str], images: int) -> tuple[OrderRule | None, tuple[int, ...]]:
    """The order rule of a question whose choices are its images, and which images stay in place.

    With the choices "the second image" and "the third image" of three, the letter follows the
    image; the first image, which no choice names, is a reference and stays. The same holds when
    the choices are the last image tags of the question. The rule is None unless the choices name
    different images in their order.
    """
    if len(choices) > 1 and all(choice.strip() == IMAGE_TAG for choice in choices):
        return "letter", tuple(range(images - len(choices)))
    slots = []
    for choice in choices:
        match = _PLACE_NAME.fullmatch(choice.strip())
        if match is None:
            return None, ()
        slots.append(
            ORDINALS.index(match["word"].lower()) if match["word"] else int(match["number"]) - 1
        )
    if len(slots) < 2 or slots != sorted(set(slots)) or not 0 <= slots[0] <= slots[-1] < images:
        return None, ()
    return "letter", tuple(slot for slot in range(images) if slot not in slots)


def open_kind(answer: str) -> AnswerKind:
    """The kind of an open question's gold answer: a number or yes or no where it reads as one, else
    text."""
    if read_number(answer) is not None:
        return "number"
    return "boolean" if answer.strip(". ").casefold() in _YES_OR_NO else "text"


_SEVERAL_LETTERS = re.compile(r"[A-H](?:\s?(?:[,;/&、]|\band\b|\s)?\s?[A-H]){1,7}")


def several_letters(answer: str) -> str | None:
    """The letters of an answer that names several options, as ``A, C``; None for another answer."""
    bare = re.sub(r"[()\[\]]", "", answer).strip(" .")
    found = sorted(set(re.findall(r"[A-H]", bare)))
    return ", ".join(found) if _SEVERAL_LETTERS.fullmatch(bare) and len(found) > 1 else None
