"""Names by side in English text: "the left photo", "the image on the right", "the left"."""

import re
from collections.abc import Iterator

from shared.permutation.english import (
    ADJECTIVE,
    JOIN,
    NOUN,
    PRONOUN_ENDS,
    G,
    may_be_inside,
    sentence_number,
)
from shared.permutation.names import Atom, Refused
from shared.permutation.slots import Slots

# "The left view" of a solid is a drawing, not a place.
_NOUN = rf"(?!views?\b)(?P<noun>{NOUN})"
_SIDES = re.compile(
    rf"\b(?:the{G}+)?(?P<a>left(?:most)?|right(?:most)?)(?:[ \t-]?hand)?(?:{G}+side)?"
    rf"(?:(?:{JOIN})(?:the{G}+)?(?P<b>left(?:most)?|right(?:most)?)(?:[ \t-]?hand)?)?"
    rf"{G}+(?:{ADJECTIVE}{G}+)?{_NOUN}",
    re.I,
)
_ON_THE_SIDE = re.compile(
    rf"\b{_NOUN}{G}+(?:(?:that|which){G}+is{G}+|shown{G}+)?(?P<at>(?:on|at|to){G}+the)"
    rf"{G}+(?:(?:far|very|extreme){G}+)?"
    r"(?P<a>left|right)(?:[ \t-]?hand)?(?: side)?(?![\w-])",
    re.I,
)
# Textbooks have one picture beside the text: "as shown in the picture on the right".
_SHOWN = re.compile(
    rf"\b(?:as{G}+(?:is{G}+|are{G}+)?(?:shown|seen|drawn|given|illustrated|depicted|in|can|you{G}+(?:can{G}+)?see)"
    r"|shown|drawn|given|illustrated|depicted|see|refer\w*|according|based|observe)\b[^.?!\n]{0,25}$",
    re.I,
)
_SHOWN_BESIDE = re.compile(
    rf"\b(?:shown|seen|drawn|pictured|illustrated|depicted|displayed|given){G}+(?:on|at|to)"
    rf"(?:{G}+the)?{G}+(?:left|right)(?![\w-]|{G}+(?:side{G}+)?of\b)"
    rf"|\b{NOUN}{G}+(?:shown{G}+)?at{G}+(?:left|right)(?![\w-])"
    rf"|\b(?:on|to|at){G}+the{G}+(?:left|right),?{G}+(?:is|are|you|we)\b[^.?!\n]{{0,20}}\b{NOUN}",
    re.I,
)
_TEXTBOOK = re.compile(r"(?:figures?|figs?\.?|diagrams?|drawings?|illustrations?|sketch\w*)", re.I)
# Two images in a row: what is on the left in one of them, or in the left one?
_ON_LEFT, _ON_RIGHT = (
    rf"\b(?:on|at){G}+the{G}+{side}\b(?!{G}+(?:hand{G}+)?(?:side{G}+)?of\b)"
    for side in ("left", "right")
)
_THINGS = re.compile(
    rf"\bin{G}+the{G}+(?:left|right)(?={G}*[,.;:?]|{G}+(?:is|are|there)\b)"
    rf"|\bleft[)]?{G}*:[^.?!\n]*\bright[)]?{G}*:|[(]left[)][^.?!\n]*[(]right[)]"
    rf"|{_ON_LEFT}[^.?!\n]*{_ON_RIGHT}|{_ON_RIGHT}[^.?!\n]*{_ON_LEFT}",
    re.I,
)
_SIDE_WORD = re.compile(
    rf"(?P<lead>(?:\b(?:one|ones|that|those){G}+)?\b(?:on|at|to|from|in|toward|towards|of){G}+)?"
    rf"\bthe{G}+(?P<a>left(?:most)?|right(?:most)?)(?![\w-])(?P<one>{G}+ones?\b)?",
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
    matches = [one for pattern in (_SIDES, _ON_THE_SIDE) for one in pattern.finditer(text)]
    _refuse_beside_the_text(text, matches, slots)
    nouned, sentences = [], set()
    for match in matches:
        if _PART.match(text, match.end()) or may_be_inside(match["noun"], slots):
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
        elif not slots.names.slots["side"] and match["a"].lower().endswith("most"):
            raise Refused("left_or_right_of_more_than_two", match.group())
    for match in words:
        inside = _INSIDE.match(text, match.end())
        if nouned and match["lead"] and match not in pronouns and not inside:
            raise Refused("side_of_or_inside_an_image", match.group())


def _refuse_beside_the_text(text: str, matches: list[re.Match[str]], slots: Slots) -> None:
    """Refuse one side alone where it may be that of the page, or a side that names no image."""
    if beside := _SHOWN_BESIDE.search(text):
        raise Refused("side_may_be_beside_the_text", beside.group())
    both = _THINGS.search(text)
    if both and not matches and slots.names.slots["side"]:
        raise Refused("side_of_or_inside_an_image", both.group())
    if len(set(re.findall(r"\b(?:left|right)", text.lower()))) > 1:
        return
    for match in matches:
        behind_noun = "at" in match.groupdict()
        shown = _SHOWN.search(text[: match.start()]) is not None
        may_be = shown or _TEXTBOOK.fullmatch(match["noun"]) is not None
        if behind_noun and not may_be:
            picture = match["noun"].lower().startswith(("pic", "paint"))
            directed = match["at"].lower().startswith(("to", "at"))
            may_be = picture or directed or match.start() < slots.first_tag
        if may_be:
            raise Refused("side_may_be_beside_the_text", match.group())


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
