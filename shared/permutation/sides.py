"""Names by side in English text: "the left photo", "the image on the right", "the left"."""

import re
from collections.abc import Iterator

from shared.permutation.english import ADJECTIVE, JOIN, NOUN, PRONOUN_ENDS, G, sentence_number
from shared.permutation.names import Atom, Refused
from shared.permutation.slots import Slots

_SIDES = re.compile(
    rf"\b(?:the{G}+)?(?P<a>left(?:most)?|right(?:most)?)(?:[ \t-]?hand)?(?:{G}+side)?"
    rf"(?:(?:{JOIN})(?:the{G}+)?(?P<b>left(?:most)?|right(?:most)?)(?:[ \t-]?hand)?)?"
    rf"{G}+(?:{ADJECTIVE}{G}+)?{NOUN}",
    re.I,
)
_ON_THE_SIDE = re.compile(
    rf"\b{NOUN}{G}+(?:(?:that|which){G}+is{G}+|shown{G}+)?(?:on|at|to){G}+the{G}+(?P<a>left|right)"
    r"(?:[ \t-]?hand)?(?: side)?(?![\w-])",
    re.I,
)
_SIDE_WORD = re.compile(
    rf"(?P<lead>(?:\b(?:one|ones|that|those){G}+)?\b(?:on|at|to|from|in|toward|towards|of){G}+)?"
    rf"\bthe{G}+(?P<a>left|right)(?![\w-])(?P<one>{G}+ones?\b)?",
    re.I,
)
_EITHER_SIDE = re.compile(
    rf"\bthe{G}+(?:left|right)(?:{G}+ones?)?,?{G}+(?:or|and|versus|vs\.?){G}+(?:the{G}+)?"
    r"(?:left|right)\b",
    re.I,
)
_CORRECT = re.compile(
    rf"\b(?:choose|select|pick|find|identify|click|is|determine|mark|give|guess){G}+(?:out{G}+)?"
    rf"(?:the{G}+)?right{G}+{NOUN}",
    re.I,
)
_PART = re.compile(rf"{G}+(?:borders?|edges?|half|sides?|corners?|part|quality|size)\b", re.I)
_INSIDE = re.compile(rf"(?:[ \t-]?hand)?{G}+(?:side|half|of|part|edge|corner)\b")


def side_atoms(text: str, slots: Slots) -> Iterator[Atom]:
    """The atoms of "left" and "right" with a noun, and of pronouns after them in the same sentence.

    Raises:
        Refused: when a side is that of a part of an image, or may not mean an image.
    """
    nouned, sentences = [], set()
    for pattern in (_SIDES, _ON_THE_SIDE):
        for match in pattern.finditer(text):
            if _PART.match(text, match.end()):
                raise Refused("side_of_or_inside_an_image", match.group())
            nouned.append(match.span())
            sentences.add(sentence_number(text, match.start()))
            yield from _atoms(match, slots)
    words = [one for one in _SIDE_WORD.finditer(text) if not _within(one.start("a"), nouned)]
    correct = _CORRECT.search(text)
    if correct and not re.search(r"\bleft\b", text, re.I):
        raise Refused("right_may_mean_correct", correct.group())
    pronouns = [one for one in words if _stands_alone(text, one)]
    both = [one.span() for one in _EITHER_SIDE.finditer(text)]
    for match in pronouns:
        if sentence_number(text, match.start()) in sentences:
            yield from _atoms(match, slots)
        elif slots.names.slots["side"] and not _within(match.start("a"), both):
            raise Refused("side_of_or_inside_an_image", match.group())
    for match in words:
        inside = _INSIDE.match(text, match.end())
        if nouned and match["lead"] and match not in pronouns and not inside:
            raise Refused("side_of_or_inside_an_image", match.group())


def _stands_alone(text: str, match: re.Match[str]) -> bool:
    """Whether "the left", "the right one" or "the one on the left" stands for an image."""
    if match["one"]:
        return True
    if match["lead"] and not re.match(r"(?:one|ones|that|those)\b", match["lead"], re.I):
        return False
    return re.match(PRONOUN_ENDS, text[match.end() :], re.I) is not None


def _atoms(match: re.Match[str], slots: Slots) -> Iterator[Atom]:
    for group in ("a", "b"):
        if match.groupdict().get(group):
            yield slots.names.atom(match.start(group), match[group], match.group())


def _within(place: int, spans: list[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)
