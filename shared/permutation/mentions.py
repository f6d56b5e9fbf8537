"""Finds the names of images in English text: "Image 2", "the second picture", "the left photo".

Every mention becomes one or more atoms (the words that are replaced when images move), or the
sample is refused with a reason. Tags and labels are blanked before, see ``slots.py``. This module
reads numbers and letters; ``places.py`` and ``sides.py`` read the other names.
"""

import re
from collections.abc import Iterator

from shared.permutation.english import (
    CARDINAL,
    CORE,
    JOIN,
    LOOSE,
    NOUN,
    ORDINAL,
    PRONOUN_ENDS,
    G,
    may_be_inside,
)
from shared.permutation.names import CARDINALS, Atom, Refused, read_name
from shared.permutation.places import place_atoms, refuse_set
from shared.permutation.sides import side_atoms
from shared.permutation.slots import Slots

_NOT_A_NUMBER = rf"(?!\w|[%°]|{G}*(?:x|×|times|percent|%|cm|mm|px|pixels|points)\b)"

_NUMBERED = re.compile(
    rf"(?<!\w)(?<!each )(?<!every )(?P<noun>{CORE}|{LOOSE}|tables?|maps?|plots?)"
    rf"(?P<gap>{G}*(?:(?:number|no\.?|nr\.?){G}*)?[#(（\[_\-]?{G}*)"
    rf"(?:(?P<number>\d{{1,3}})(?:(?=[a-f]\b)|{_NOT_A_NUMBER})"
    rf"|(?P<circled>[①-⑩])"
    rf"|(?P<letter>(?-i:[A-HJ-Z]))(?![\w&'’]|-(?!(?-i:[A-Z])\b)|\.\w)"
    # Image (b), image b; "image a" only before what cannot follow an article.
    rf"|(?P<small>(?<=[(（\[])(?-i:[a-h])(?=[)）\]])|(?<={G})(?-i:[b-h])(?![\w'’(.])"
    rf"|(?<={G})a(?=[,.;:?!)]|{G}+(?:is|are|and|or|to|has|shows?|than|with)\b))"
    rf"|(?<={G})(?P<cardinal>{CARDINAL})\b)",
    re.I,
)
# "Image one" is a name if the text also has "image two", or if no article makes it a pronoun.
_FROM_TWO = rf"(?:{'|'.join(CARDINALS[1:])})\b"
_CARDINAL_NAME = re.compile(
    rf"\b{CORE}{G}+(?:one{JOIN})?{_FROM_TWO}|\b{CORE}{G}+(?:number|no\.?){G}+{CARDINAL}\b"
    r"|(?:^|[.,;:?!(\n]|\b(?:in|of|from|to|than|and|or|does|do|is|are|was|with|between|compare"
    rf"|describe|at|on|for|see|like|as)){G}*"
    rf"(?:image|picture|photo|photograph|figure|fig\.?){G}+one\b(?!{G}+of\b)",
    re.I,
)
# Nouns that name images only where labels use them, but options where letters are labels.
_OPTION_NOUN = r"options?|choices?|candidates?|alternatives?"
_LABEL_NOUN = r"samples?|items?|cards?|shapes?|objects?|patterns?|documents?|screens?"
_OPTION = re.compile(
    rf"(?<!\w)(?P<noun>{_OPTION_NOUN}|{_LABEL_NOUN}){G}+\(?"
    r"(?P<letter>(?-i:[A-HJ-Z]))(?![\w&'’\-])",
    re.I,
)
_NUMBERED_OPTION = re.compile(
    rf"(?<!\w)(?P<noun>{_OPTION_NOUN}|{_LABEL_NOUN}){G}+[#(]?"
    rf"(?P<number>\d{{1,3}}){_NOT_A_NUMBER}",
    re.I,
)
_MORE = re.compile(
    rf"[)）\]]?(?:{JOIN})[#(（\[]?"
    rf"(?P<token>\d{{1,3}}|[①-⑩]|(?-i:[A-HJ-Z])|{CARDINAL})(?![\w&'’%])",
    re.I,
)
_MORE_SMALL = re.compile(rf"[)）\]]?(?:{JOIN})[#(（\[]?(?P<token>(?-i:[a-h]))(?![\w&'’%])", re.I)
_RANGE = re.compile(
    rf"[)）\]]?{G}*(?P<to>-|–|—|~|～|\b(?:up{G}+)?to\b|\bthrough\b|\buntil\b|\btill\b){G}*"
    rf"(?P<noun>(?:the{G}+)?(?:{CORE}|{LOOSE}|tables?){G}*)?[#(（\[]?"
    rf"(?P<token>\d{{1,3}}(?!\w)|[①-⑩]|(?-i:[A-Z])(?!\w))",
    re.I,
)
# "Compare image 1 to image 3" names two images and no range.
_COMPARED = re.compile(r"\b(?:compar\w+|prefer\w*|similar\w*|relative|match\w*)\b[^.?!\n]*$", re.I)

_ORDER = "order_has_a_meaning"
# "The cup in the right image is next to the bowl" tells the place of the cup.
_OF_A_THING = re.compile(rf"\b(?:in|of|from|on){G}+(?:the{G}+)?(?:[\w-]+{G}+){{0,2}}$", re.I)
_PREDICATE = re.compile(r"^\w+\.?[ \t]+(?:is|are)\b", re.I)
_RESPECTIVELY = re.compile(r"[^.?!\n]*\brespectively\b", re.I)
# "D and E are the midpoints of AB and AC respectively" lists points and no images.
_POINT = re.compile(r"(?<![\w])(?-i:[A-Z]{1,3})(?:'|′)?(?!\w)")
_THEY = re.compile(rf"\b(?:they|these|{CORE})\b(?!{G}*[#(]?\d)", re.I)

_REFUSED: list[tuple[str, re.Pattern[str]]] = [
    (
        "place_relative_to_another_image",
        re.compile(
            rf"\b(?:previous|next|preceding|subsequent|succeeding|earlier|prior|adjacent|neighbou?ring)"
            rf"{G}+(?:\w+{G}+)?{NOUN}"
            rf"|\b(?:before|after)(?:[ \t-]and[ \t-]after)?[ \t-]+{NOUN}"
            rf"|\b(?:happen\w*|comes?|came|occur\w*|follows?|goes|next)\b[^.?!\n]{{0,20}}"
            rf"\b(?:before|after){G}+(?:the{G}+)?(?:{ORDINAL}{G}+)?{NOUN}"
            rf"|\b(?:follows?|followed{G}+by|preced(?:es|ed|ing)){G}+(?:the{G}+)?(?:{ORDINAL}{G}+)?{NOUN}"
            rf"|\b{NOUN}{G}+(?:(?:that|which){G}+)?(?:(?:is|are|comes?|appears?){G}+)?"
            rf"(?:immediately{G}+|directly{G}+|just{G}+)?"
            rf"(?:(?:on|to|at){G}+the{G}+(?:left|right)(?:{G}+side)?{G}+of|(?:left|right){G}+of"
            rf"|next{G}+to|before|after|between|beside|following|preceding|adjacent{G}+to)"
            rf"{G}+(?:the|it|this|that|{CORE})\b",
            re.I,
        ),
    ),
    (
        "former_or_latter",
        re.compile(rf"\b(?:former|latter){G}+(?:one|{NOUN})", re.I),
    ),
    (
        "place_of_another_layout",
        re.compile(
            rf"\bthe{G}+(?:top|bottom|upper|lower|cent(?:er|re|ral))(?:most)?(?:{G}+(?:left|right))?"
            rf"{G}+{NOUN}(?!{G}+(?:quality|resolution|size|border|edge|corner|half|part))",
            re.I,
        ),
    ),
    (
        "unclear_name",
        re.compile(rf"\b{NOUN}{G}+(?-i:[IVX]{{2,}}|[IVX]{{1,4}}(?=[.,:;?!)]|$))(?!\w)", re.I),
    ),
    (
        _ORDER,
        re.compile(
            rf"\bin{G}+(?:this|that|the{G}+(?:given|shown|displayed|presented|same)){G}+order\b"
            rf"|\b(?:consecutive|successive|sequential|chronological){G}+{NOUN}"
            rf"|\b{CORE}{G}+sequence\b|\bsequence{G}+of{G}+(?:the{G}+)?{NOUN}"
            rf"|\b{CORE}[^.?!\n]{{0,20}}\bfrom{G}+left{G}+to{G}+right"
            rf"|\bfrom{G}+left{G}+to{G}+right[^.?!\n]{{0,20}}\b{CORE}\b",
            re.I,
        ),
    ),
]


def english_atoms(text: str, slots: Slots, ordering: bool) -> list[Atom]:
    """The atoms of `text`.

    Args:
        ordering: whether the question asks for an order of the images.

    Raises:
        Refused: when words name an image by its place and no rewriting keeps their meaning.
    """
    for reason, pattern in _REFUSED:
        for match in pattern.finditer(text) if not (ordering and reason == _ORDER) else ():
            if not (_OF_A_THING.search(text[: match.start()]) and _PREDICATE.search(match.group())):
                raise Refused(reason, match.group())
    numbered = [*_numbered(text, slots), *_options(text, slots)]
    atoms = [*numbered, *place_atoms(text, slots, ordering), *side_atoms(text, slots)]
    for match in _RESPECTIVELY.finditer(text) if len(atoms) < 2 and not ordering else ():
        if len(_POINT.findall(match.group())) < 2 or _THEY.search(match.group()):
            raise Refused(_ORDER, "respectively")
    refuse_set(text, slots)
    return atoms


def _numbered(text: str, slots: Slots) -> Iterator[Atom]:
    cardinals = _CARDINAL_NAME.search(text) is not None
    for match in _NUMBERED.finditer(text):
        group = match.lastgroup or "number"
        if group == "cardinal" and not cardinals:
            continue
        if group == "letter" and not match["gap"]:
            continue
        after = text[match.end() :]
        if re.match(r"[.,\-]?[.\-]\d", after) and not _RANGE.match(after):
            raise Refused("unclear_name", match.group() + after[:3])
        if group == "small" and not slots.small and match[group] == "a" and "(" not in match["gap"]:
            continue
        if may_be_inside(match["noun"], slots) or (group == "small" and not slots.small):
            raise Refused("unclear_name", match.group())
        yield from _listed(text, match, group, slots)


def _options(text: str, slots: Slots) -> Iterator[Atom]:
    for match in _OPTION.finditer(text) if slots.lettered else ():
        labelled = match["noun"].lower().rstrip("s") in slots.nouns
        if labelled or re.fullmatch(_OPTION_NOUN, match["noun"], re.I):
            yield from _listed(text, match, "letter", slots)
    for match in _NUMBERED_OPTION.finditer(text):
        if match["noun"].lower().rstrip("s") in slots.nouns:
            yield from _listed(text, match, "number", slots)


def _listed(text: str, match: re.Match[str], group: str, slots: Slots) -> list[Atom]:
    """The name at the end of `match` and the names joined to it ("images 1, 2 and 3")."""
    atoms: list[Atom] = []
    start, token = match.start(group), match[group]
    plural = match["noun"].lower().rstrip(".").endswith("s")
    while True:
        phrase = text[match.start() : start + len(token)]
        end = start + len(token)
        reach = _RANGE.match(text, end)
        alike = reach is not None and _style(reach["token"], slots) == _style(token, slots)
        if reach and alike and not _names_two(text[: match.start()], reach, slots):
            # "From image 1 to 3" has a direction.
            both_ways = (plural or reach["to"] in "-–—~～") and not reach["noun"]
            if not atoms and both_ways and _covers_all(token, reach["token"], slots):
                return []
            raise Refused("set_of_images", text[match.start() : reach.end()])
        atoms.append(slots.names.atom(start, token, phrase))
        more = (_MORE_SMALL if group == "small" else _MORE).match(text, start + len(token))
        if more is None or _style(more["token"], slots) != atoms[0].name.style:
            return atoms
        if not (plural or re.match(rf"{PRONOUN_ENDS}|{JOIN}", text[more.end() :], re.I)):
            _refuse_unless_counted(text, match.start(), more, slots)
            return atoms
        start, token = more.start("token"), more["token"]


def _names_two(before: str, reach: re.Match[str], slots: Slots) -> bool:
    """Whether "image 1 to image 2" is no range: of two images, or in a comparison."""
    if not reach["noun"] or reach["to"].lower() != "to":
        return False
    return slots.names.count == 2 or _COMPARED.search(before) is not None


def _refuse_unless_counted(text: str, start: int, more: re.Match[str], slots: Slots) -> None:
    """Accept "image 1 and 2 dogs", and refuse "image 1 and 2 match"."""
    name = read_name(more["token"], slots.names.count)
    counted = re.match(rf"{G}+\w+s\b", text[more.end() :])
    if name is not None and slots.names.slot(name) is not None and not counted:
        raise Refused("unclear_name", text[start : more.end()])


def _covers_all(first: str, last: str, slots: Slots) -> bool:
    """Whether a range of names covers the same images in every order."""
    names = [read_name(token, slots.names.count) for token in (first, last)]
    if names[0] is None or names[1] is None or names[0].family != names[1].family:
        return False
    values = slots.names.slots[names[0].family]
    within = range(names[0].value, names[1].value + 1)
    return set(within) <= set(values) and slots.names.stable({values[one] for one in within})


def _style(token: str, slots: Slots) -> str:
    name = read_name(token, slots.names.count)
    return "" if name is None else name.style
