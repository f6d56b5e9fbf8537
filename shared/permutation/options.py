"""Finds names without a noun: in options written as text, and in letters that stand alone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.permutation.answers import answer_atoms, order_atoms
from shared.permutation.english import CORE, LOOSE
from shared.permutation.lone import (
    are_slots,
    names_a_place,
    numbers_parts,
    quantity_asked,
    values_in,
)
from shared.permutation.names import ORDINALS, Atom, Refused
from shared.permutation.slots import Slots
from shared.sample import OrderRule

_LABEL = re.compile(r"(?:(?<=\s)|^)(?:[(（](?P<a>[A-Z])[)）]|(?P<b>[A-Z])[.．:：、)])[ \t]*(?=\S)")
# Options start a line, or follow the end of a sentence.
_STARTS = re.compile(r"(?:^|[\n.?!:;。？！：；]|\b(?:options?|choices?))[ \t]*$", re.I)
_NOUN = rf"(?:{CORE}|{LOOSE})"
# The question asks for an image, and a bare "2", "B" or "left" may be its name.
ASKED = re.compile(
    rf"\b(?:which|what)[ \t]+(?:one[ \t]+)?"
    rf"(?:of[ \t]+(?:the|these|those)[ \t]+(?:\w+[ \t]+){{0,2}})?"
    rf"(?:\w+[ \t]+)?{_NOUN}\b"
    r"|\bwhich[ \t]+(?:ones?|of[ \t]+(?:them|these|those)|is|are|has|have|shows?|does"
    r"|side(?![ \t]+of))\b(?!(?:[ \t]+\w+){0,3}[ \t]+(?:numbers?|digits?|values?|letters?)\b)"
    rf"|\b(?:identify|choose|select|find|pick|name|give|click|tell|point)\b[^.?!\n]{{0,30}}"
    rf"\b{_NOUN}[ \t]+(?:that|which|with|where|in|show\w*|contain\w*)\b"
    r"|\bwhich[ \t]+(?:two|three|four|pair)(?=[ \t]*\?|[ \t]+(?:are|is|looks?|match\w*|have|show"
    r"|belong|differ|contain|come|do|of)\b)"
    r"|\bodd[ \t]+(?:one|man)[ \t]+out\b"
    rf"|\b(?:number|index|letter|label)[ \t]+of[ \t]+the[ \t]+(?:\w+[ \t]+)?{_NOUN}\b"
    rf"|\b{_NOUN}[ \t]+(?:number|index)\b"
    r"|哪[一几幾些]?[张張幅]|哪[些几]?个?图|第几[张張幅]|图几",
    re.I,
)
ORDERING = re.compile(
    r"\b(?:order|sequence|arrange|arrangement|chronolog\w+|sort|rank|ranking)\b|顺序|排序|排列|次序",
    re.I,
)
_PLACE = re.compile(rf"(?:the )?(?:{'|'.join(ORDINALS)}|last|\d(?:st|nd|rd|th))(?: one)?\.?", re.I)
_SIDE = re.compile(r"(?:the )?(?:left|right)(?: one)?\.?", re.I)
_NUMBERS = re.compile(r"\(?\d{1,2}\)?(?:\s*(?:,|and|or|&|、|和)\s*\d{1,2})*\.?", re.I)
# ``bare.py`` reads numbers in brackets, and letters and circles where labels have them.
_BRACKETS, _SIGNS = re.compile(r"[(（\[][ \t]*\d"), re.compile(r"[(（\[①-⑩]")
_LETTER_PAIR = re.compile(r"[A-H](?:(?:[ \t]*(?:,|and|or|&|和|与|、)[ \t]*)+[A-H])+[ \t]*\.?")
_POINTS = re.compile(
    r"\b(?:points?|angles?|lines?|segments?|vert(?:ex|ices)|sides?|labell?ed|marked)\b|[点角线]",
    re.I,
)
_BARE = re.compile(r"(?<![\w'’.\-])[A-Z](?![\w'’])")
_SMALL = re.compile(
    r"(?<![\w'’.\-=+*/^])(?:[b-h](?![\w'’=+*/^])"
    r"|a(?=[ \t]*[,.;:?!)]|[ \t]+(?:is|and|or|has|than|to|with|shows?)\b|$))"
)
_BARE_LIST = re.compile(
    r"(?<![\w'’.\-])[A-Z](?:\s*(?:,\s*(?:or|and)?|/|\||、|和|或|\bor\b|\band\b)\s*[(]?[A-Z](?![\w'’]))*"
    r"(?![\w'’])"
)
_LETTER_RANGE = re.compile(r"(?<![\w'’.\-])([A-Z])\s*(?:-|–|to|through)\s*([A-Z])(?![\w'’])")
_ARTICLE = re.compile(
    r"A[ \t]+(?!(?:is|has|shows?|was|or|and|than|contains?|does|with|in|to|from|on|by)\b)[a-z]"
)


@dataclass(frozen=True)
class Option:
    """A text option: where its label starts, and the span of its text without outer blanks."""

    label: int
    start: int
    end: int


def text_options(text: str, lettered: bool = False) -> list[Option]:
    """The options A, B, ... of `text` (tags and labels blanked); none when fewer than two.

    Args:
        lettered: whether letters name images, so that "Is (A) like (B)?" has no options.
    """
    labels: list[re.Match[str]] = []
    for match in _LABEL.finditer(text):
        letter = match["a"] or match["b"]
        if letter == "A" and lettered and not _STARTS.search(text[: match.start()]):
            return []
        if letter == "A":
            labels = [match]
        elif labels and letter == chr(ord("A") + len(labels)):
            labels.append(match)
    if len(labels) < 2:
        return []
    stops = [one.start() for one in labels[1:]]
    line = text.find("\n", labels[-1].end())
    stops.append(len(text) if line < 0 else line)
    return [
        Option(one.start(), one.end(), one.end() + len(text[one.end() : stop].rstrip()))
        for one, stop in zip(labels, stops, strict=True)
    ]


def blank_labels(text: str, options: list[Option]) -> str:
    """`text` with the letters of `options` blanked, so that no mention takes one in."""
    for option in options:
        blank = "\n" * (option.start - option.label)
        text = text[: option.label] + blank + text[option.start :]
    return text


def name_their_slots(options: list[Option], slots: Slots) -> bool:
    """Whether each option is only the name of the image that its letter means."""
    letters = slots.names.slots["letter"]
    named = [
        [
            atom.slot
            for atom in answer_atoms(slots.text[one.start : one.end], slots.names, "position")
        ]
        for one in options
    ]
    return len(options) == len(letters) and named == [[slot] for slot in letters.values()]


def option_atoms(text: str, options: list[Option], slots: Slots, rule: OrderRule) -> Iterator[Atom]:
    """The names in options that are only a list of images: orders to choose from.

    Raises:
        Refused: when an option may name images but that is not certain.
    """
    if rule == "letter" and options:
        raise Refused("options_are_text_not_images", text[options[0].start : options[0].end])
    question = text[: options[0].label] if options else ""
    orders: set[str] = set()
    for option in options:
        words = text[option.start : option.end]
        atoms = order_atoms(words, slots.names)
        if atoms and slots.names.stable({atom.slot for atom in atoms}):
            orders.add(words)
            if ORDERING.search(question):
                yield from (_moved(atom, option.start) for atom in atoms)
            elif ASKED.search(question):
                raise Refused("option_may_name_an_image", words)
        elif (
            _PLACE.fullmatch(words)
            or (ASKED.search(question) and (_NUMBERS.fullmatch(words) or _SIDE.fullmatch(words)))
            or names_a_place(words, question)
        ):
            raise Refused("option_may_name_an_image", words)
    texts = {text[option.start : option.end] for option in options}
    _refuse_lists(sorted(texts - orders), question, slots)


def _refuse_lists(texts: list[str], question: str, slots: Slots) -> None:
    """Refuse options such as "1 and 2" or "II" that may be lists of images without a noun."""
    asked = ASKED.search(question) is not None
    if not asked and quantity_asked(question):
        return
    read_there = bool(slots.bracketed) or slots.circled
    listed = [
        words
        for words in texts
        if not (_BRACKETS.search(words) or (read_there and _SIGNS.search(words)))
        and (values_in(words) or (asked and _LETTER_PAIR.fullmatch(words)))
    ]
    if asked and not _POINTS.search(question):
        for words in listed:
            if _LETTER_PAIR.fullmatch(words) and not slots.lettered:
                raise Refused("option_may_name_an_image", words)
    listed = [words for words in listed if values_in(words)]
    if all(are_slots(values_in(words), slots.names) for words in listed):
        for words in listed:
            several = len(values_in(words)) > 1 or asked
            if several and not numbers_parts(question, words):
                raise Refused("option_may_name_an_image", words)


def refuse_bare_letters(text: str, slots: Slots, atoms: list[Atom]) -> None:
    """Refuse letters that stand alone where letters name images; a list of all letters is fine.

    Raises:
        Refused: with the letters.
    """
    if not slots.lettered and all(atom.name.family != "letter" for atom in atoms):
        return
    for atom in atoms:
        text = text[: atom.start] + "_" * (atom.end - atom.start) + text[atom.end :]
    letters = slots.names.slots["letter"]
    if slots.small and (small := _SMALL.search(text)):
        raise Refused("letter_may_name_an_image", small.group())
    for match in _LETTER_RANGE.finditer(text):
        ends = [ord(letter) - 64 for letter in match.groups()]
        within = {letters[value] for value in range(ends[0], ends[1] + 1) if value in letters}
        if slots.names.stable(within):
            text = text[: match.start()] + "_" * len(match.group()) + text[match.end() :]
    for match in _BARE_LIST.finditer(text):
        named = {ord(letter) - 64 for letter in _BARE.findall(match.group())}
        meant = {letters[value] for value in named if value in letters}
        article = match.group() == "A" and _ARTICLE.match(text, match.start())
        if meant and not article and not slots.names.stable(meant):
            raise Refused("letter_may_name_an_image", match.group())


def _moved(atom: Atom, offset: int) -> Atom:
    return Atom(atom.start + offset, atom.end + offset, atom.name, atom.slot)
