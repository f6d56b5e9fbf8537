"""Finds the words that stay at the slots of a question: image tags and labels beside them."""

import re
from dataclasses import dataclass
from itertools import pairwise

from shared.permutation.labels import BETWEEN, Labels, read_labels
from shared.permutation.names import Family, Names, Refused
from shared.permutation.wraps import join_lines, plain_blanks, refuse_unclear_breaks
from shared.sample import IMAGE_TAG, OrderRule

# Words on the line of the first tag that say what its image is, as labels of the others do.
_CAPTION = re.compile(
    r"\s*(?P<words>(?:the[ \t]+)?(?:(?:front|left|right|top|side|back|rear|bottom|plan|main)"
    r"[ \t]+view|before|after|original|edited|reference|query|source|target|template|input|output"
    r"|start|goal|(?:主|正|左|右|侧|俯|仰)视图)"
    r"(?:[ \t]+(?:image|picture|photo|figure))?)[ \t]*[:：]?[ \t]*",
    re.I,
)


@dataclass(frozen=True)
class Slots:
    """A question's text with tags and labels blanked (same length), and the names of its slots."""

    text: str
    names: Names
    nouns: frozenset[str]
    """Nouns in the labels; in this question they name images."""
    lettered: bool
    """Whether letters name images."""
    first_tag: int
    """The offset of the first tag."""
    bare: frozenset[Family] = frozenset()
    """The families of labels without a noun: "(1)", "B.", "③"."""
    bracketed: frozenset[Family] = frozenset()
    """The families of labels whose name stands in brackets: "(1)", "Figure (1)"."""
    circled: bool = False
    """Whether labels are circled numbers."""
    small: bool = False
    """Whether labels are small letters."""


def read_slots(question: str, fixed: tuple[int, ...], rule: OrderRule) -> Slots:
    """Find the tags and labels of a question.

    Raises:
        Refused: when text between images belongs to one of them, or labels are ambiguous.
    """
    question = plain_blanks(question)
    tags = [match.start() for match in re.finditer(re.escape(IMAGE_TAG), question)]
    movable = [slot for slot in range(len(tags)) if slot not in fixed]
    labels = read_labels(question, tags, movable)
    text = _blank(question, [(tag, tag + len(IMAGE_TAG)) for tag in tags])
    text = _blank(text, [(label.start, label.end) for label in labels.values()])
    refuse_unclear_breaks(text)
    _refuse_text_between(text, tags, movable)
    _refuse_caption(text, tags, movable)
    found = labels.values()
    letters = [one.token for one in found if one.name.family == "letter"]
    return Slots(
        text=join_lines(text),
        names=_names(labels, movable, frozenset(fixed), len(tags), rule),
        nouns=frozenset(one.noun.lower().rstrip("s.") for one in found if one.noun),
        lettered=rule == "letter" or bool(letters),
        first_tag=tags[0] if tags else len(question),
        bare=frozenset(one.name.family for one in found if not one.noun),
        bracketed=frozenset(one.name.family for one in found if one.bracketed),
        circled=any(one.name.style == "circled" for one in found),
        small=bool(letters) and all(letter.islower() for letter in letters),
    )


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
            if not BETWEEN.fullmatch(piece):
                raise Refused("text_beside_an_image", piece)


def _refuse_caption(text: str, tags: list[int], movable: list[int]) -> None:
    """Refuse a caption in front of the first image or behind the last one, if that image moves."""
    captions = []
    if movable and movable[0] == 0:
        captions.append(_CAPTION.fullmatch(text[: tags[0]].rpartition("\n")[2]))
    if movable and movable[-1] == len(tags) - 1:
        after = text[tags[-1] + len(IMAGE_TAG) :].lstrip()
        captions.append(_CAPTION.fullmatch(after.partition("\n")[0]))
    for caption in captions:
        if caption is not None:
            raise Refused("text_beside_an_image", caption["words"])


def _names(
    labels: Labels, movable: list[int], fixed: frozenset[int], count: int, rule: OrderRule
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
    if slots["number"] is not places and rule == "invariant" and slots["letter"] is by_letter:
        # "Figure A" beside labels with numbers is a name in a picture, or of something else.
        slots["letter"] = {}
    if slots["letter"] is not by_letter and rule == "invariant" and slots["number"] is places:
        # So is "Figure 2" beside labels with letters, unless it may mean a fixed image only.
        slots["number"] = {v: s for v, s in places.items() if s in fixed}
    return Names(count, fixed, slots)
