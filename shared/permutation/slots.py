"""Finds the words that stay at the slots of a question: image tags and labels beside them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from shared.permutation.names import Family, Name, Names, Refused, read_name
from shared.sample import IMAGE_TAG, OrderRule

_NOUN = (
    r"(?:images?|pictures?|pics?|photos?|photographs?|imgs?|figures?|figs?\.?|options?|choices?"
    r"|candidates?|panels?|frames?|diagrams?|graphs?|charts?|paintings?|views?|slides?"
    r"|图片|图像|照片|图|选项)"
)
_WORD = r"(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|left|right)"
_TOKEN = rf"(?:\d{{1,2}}(?:st|nd|rd|th)|\d{{1,2}}|[A-Za-z]|{_WORD}|[一二三四五六七八九十①-⑩左右])"
_END = r"[ \t]*(?:\*\*)?[ \t]*[.:：．、)）\]>=\-–—]?(?:\*\*)?"
_FORMS = (
    # Image 1: / Figure (2) / Option B. / 图1：
    rf"(?:the[ \t]+)?(?P<noun>{_NOUN})[ \t]*(?:no\.?|number)?[ \t]*[#_\-(\[]?[ \t]*"
    rf"(?P<a>{_TOKEN})[)\]]?",
    # First / The second image / Left picture / 第一张图
    rf"(?:the[ \t]+)?(?P<b>{_WORD})(?:[ \t]+(?P<noun2>{_NOUN}))?",
    rf"第(?P<c>[一二三四五六七八九十]|\d{{1,2}})[张幅个](?:{_NOUN})?",
    # A. / (B) / [1] / 2)
    r"[(（\[](?P<d>\d{1,2}|[A-Za-z])[)）\]]",
    r"(?P<e>\d{1,2}|[A-Za-z])[ \t]*[.:：．、)]",
    r"(?P<f>[①-⑩])",
)
_BEFORE = [
    re.compile(rf"(?:^|[\n.?!:;,>。？！；，])\s*(?P<all>(?:\*\*|<)?{form}{_END})\s*$", re.I)
    for form in _FORMS
]
_INLINE = re.compile(rf"(?:^|\s)(?P<all>{_FORMS[0]}{_END})\s*$", re.I)
_AFTER = [
    re.compile(rf"[ \t]*\n?[ \t]*(?P<all>{form}{_END})(?=\s*$|\s*\n)", re.I) for form in _FORMS
]
_BETWEEN = re.compile(
    rf"(?:\s|[,;|/&.:、，；。：]|\band\b|\bor\b|\bvs\b|[和与及或]|(?:the\s+)?\b{_NOUN}\b\s*:)*",
    re.I,
)


@dataclass(frozen=True)
class Label:
    """Words at `start:end` of the question that name the slot beside them."""

    start: int
    end: int
    name: Name
    noun: str


@dataclass(frozen=True)
class Slots:
    """A question's text with tags and labels blanked (same length), and the names of its slots."""

    text: str
    names: Names
    nouns: frozenset[str]
    """Nouns in the labels; in this question they name images."""
    lettered: bool
    """Whether letters name images."""


def read_slots(question: str, fixed: tuple[int, ...], rule: OrderRule) -> Slots:
    """Find the tags and labels of a question.

    Raises:
        Refused: when text between images belongs to one of them, or labels are ambiguous.
    """
    tags = [match.start() for match in re.finditer(re.escape(IMAGE_TAG), question)]
    labels = _labels(question, tags)
    text = _blank(question, [(tag, tag + len(IMAGE_TAG)) for tag in tags])
    text = _blank(text, [(label.start, label.end) for label in labels.values()])
    movable = [slot for slot in range(len(tags)) if slot not in fixed]
    _refuse_text_between(text, tags, movable)
    names = _names(labels, movable, frozenset(fixed), len(tags), rule)
    lettered = rule == "letter" or any(one.name.family == "letter" for one in labels.values())
    nouns = frozenset(one.noun.lower().rstrip("s.") for one in labels.values() if one.noun)
    return Slots(text, names, nouns, lettered)


def _labels(question: str, tags: list[int]) -> dict[int, Label]:
    """The label of each slot: those before the tags, or those after them if there are more."""
    ends = [0, *(tag + len(IMAGE_TAG) for tag in tags)]
    pieces = list(zip(ends, [*tags, len(question)], strict=True))
    before = dict(_found(question, pieces[:-1], _BEFORE, len(tags)))
    for slot, (start, end) in enumerate(pieces[:-1]):
        if slot not in before and (match := _INLINE.search(question[start:end])):
            before |= dict(_label(match, slot, start, len(tags)))
    after = dict(_found(question, pieces[1:], _AFTER, len(tags)))
    # One name after the last image may also be the start of the question.
    return after if len(after) > max(1, len(before)) else before


def _found(
    question: str, pieces: list[tuple[int, int]], forms: list[re.Pattern[str]], count: int
) -> Iterator[tuple[int, Label]]:
    for slot, (start, end) in enumerate(pieces):
        for form in forms:
            piece = question[start:end]
            match = form.match(piece) if forms is _AFTER else form.search(piece)
            if match is not None:
                yield from _label(match, slot, start, count)
                break


def _label(match: re.Match[str], slot: int, offset: int, count: int) -> Iterator[tuple[int, Label]]:
    groups = match.groupdict()
    token = next(groups[key] for key in "abcdef" if groups.get(key))
    name = read_name(token, count)
    if name is not None:
        if groups.get("c"):
            name = Name(name.style, "place", name.value)
        noun = groups.get("noun") or groups.get("noun2") or ""
        yield slot, Label(offset + match.start("all"), offset + match.end("all"), name, noun)


def _blank(text: str, spans: list[tuple[int, int]]) -> str:
    """`text` with line feeds in place of `spans`, so that no mention reaches across them."""
    for start, end in spans:
        text = text[:start] + "\n" * (end - start) + text[end:]
    return text


def _refuse_text_between(text: str, tags: list[int], movable: list[int]) -> None:
    """Refuse words between two images that move: they belong to one image, and would not follow it.

    Words on the line of a fixed image belong to that image, and are accepted.
    """
    for slot, later in pairwise(movable):
        start, stop = tags[slot] + len(IMAGE_TAG), tags[later]
        pieces, between = [], [tags[fixed] for fixed in range(slot + 1, later)]
        for number, end in enumerate([*between, stop]):
            piece = text[start:end]
            if number < len(between):
                piece = piece[: piece.rfind("\n") + 1]
            if number > 0:
                piece = piece[piece.find("\n") :] if "\n" in piece else piece
            pieces.append(piece)
            start = end + len(IMAGE_TAG)
        for piece in pieces:
            if not _BETWEEN.fullmatch(piece):
                raise Refused("text_beside_an_image", piece)


def _names(
    labels: dict[int, Label], movable: list[int], fixed: frozenset[int], count: int, rule: OrderRule
) -> Names:
    places = {slot + 1: slot for slot in range(count)}
    options = {place + 1: slot for place, slot in enumerate(movable)}
    sides = {1: 0, 2: 1} if count == 2 else {}
    by_letter = options if rule in ("letter", "order") else places
    slots: dict[Family, dict[int, int]] = {
        "number": places,
        "place": places,
        "letter": by_letter,
        "side": sides,
    }
    for family in slots:
        labelled: dict[int, int] = {}
        for slot, label in labels.items():
            if label.name.family != family:
                continue
            if label.name.value in labelled:
                raise Refused("two_images_with_one_label")
            labelled[label.name.value] = slot
        if labelled:
            slots[family] = labelled
    if slots["number"] != places and slots["place"] is places:
        # "The first image" may then mean the one labelled 1, or the one that comes first.
        slots["place"] = {v: s for v, s in places.items() if slots["number"].get(v) == s}
    return Names(count, fixed, slots)
