"""How English text names images away from them: "Image 2", "the second picture", "the left photo".

Every mention becomes one or more atoms (the words that are replaced when images move), or the
sample is refused with a reason. Texts are scanned with tags and labels blanked, see ``slots.py``.
"""

import re
from collections.abc import Iterator

from shared.permutation.names import CARDINALS, ORDINALS, Atom, Refused, read_name
from shared.permutation.slots import Slots

_G = r"[ \t]"
_CORE = r"(?:images?|pictures?|pics?|photos?|photographs?|imgs?|figures?|figs?\.?)"
# Words that may as well name something inside an image, unless labels use them.
_LOOSE = (
    r"(?:frames?|panels?|paintings?|diagrams?|drawings?|screenshots?|snapshots?|illustrations?"
    r"|graphs?|charts?|slides?|views?|scenes?|pages?|shots?)"
)
_NOUN = rf"(?:{_CORE}|{_LOOSE})(?![\w-])"
_ORDINAL = rf"(?:{'|'.join(ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|last|final|middle)"
_CARDINAL = rf"(?:{'|'.join(CARDINALS)})"
_ADJECTIVE = r"(?:input|given|shown|provided|displayed|uploaded|attached|colou?r)"
_JOIN = rf"(?:{_G}*,{_G}*(?:(?:and|or){_G}+)?|{_G}+(?:and|or|&|versus|vs\.?){_G}+|{_G}*[/&]{_G}*)"
# What may follow a pronoun ("than the second", "the first is") but not an adjective.
_PRONOUN_ENDS = (
    rf"(?={_G}*(?:[.,;:?!)\n]|$)|{_G}+(?:is|are|was|were|does|do|has|have|had|shows?|contains?|and|or"
    r"|but|than|with|in|from|to|by|as|when|while|if|that|which|depicts?|can|will|should|may|more|less|not|also|looks?|appears?|seems?)\b"
    rf"|{_G}+\w+er{_G}+than\b)"
)
# Before "the second red" these make a question of it, in which "the second" may be an image.
_ASKED = re.compile(
    rf"(?:^|[.?!:,;\n]{_G}*|\b(?:or|and){_G}+)(?:is|are|was|were|does|do|did|has|have|can|could){_G}+$",
    re.I,
)
# Nouns that an ordinal counts inside images or time.
_COUNTED = re.compile(
    rf"{_G}+(?:times?|place|half|row|column|line|floor|day|week|month|year|step|digit|letter|word)\b",
    re.I,
)
_NOT_A_NUMBER = rf"(?!\w|[%°]|{_G}*(?:x|×|times|percent|%|cm|mm|px|pixels|points)\b)"

_NUMBERED = re.compile(
    rf"(?<!\w)(?<!each )(?<!every )(?P<noun>{_CORE}|{_LOOSE})"
    rf"(?P<gap>{_G}*(?:(?:number|no\.?|nr\.?){_G}*)?[#(\[_\-]?{_G}*)"
    rf"(?:(?P<number>\d{{1,3}})(?:(?=[a-f]\b)|{_NOT_A_NUMBER})"
    rf"|(?P<letter>(?-i:[A-HJ-Z]))(?![\w&'’\-]|\.\w)"
    rf"|(?<={_G})(?P<cardinal>{_CARDINAL})\b)",
    re.I,
)
# "Image two" is a name, and then so is "image one"; alone, where no article makes it a pronoun.
_FROM_TWO = rf"(?:{'|'.join(CARDINALS[1:])})\b"
_CARDINAL_NAME = re.compile(
    rf"\b{_CORE}{_G}+(?:one{_JOIN})?{_FROM_TWO}|\b{_CORE}{_G}+(?:number|no\.?){_G}+{_CARDINAL}\b"
    r"|(?:^|[.,;:?!(\n]|\b(?:in|of|from|to|than|and|or|does|do|is|are|was|with|between|compare"
    rf"|describe|at|on|for|see|like|as)){_G}*"
    rf"(?:image|picture|photo|photograph|figure|fig\.?){_G}+one\b(?!{_G}+of\b)",
    re.I,
)
_OPTION = re.compile(
    rf"(?<!\w)(?P<noun>options?|choices?|candidates?|alternatives?){_G}+\(?"
    r"(?P<letter>(?-i:[A-HJ-Z]))(?![\w&'’\-])",
    re.I,
)
_NUMBERED_OPTION = re.compile(
    rf"(?<!\w)(?P<noun>options?|choices?|candidates?|alternatives?){_G}+[#(]?"
    rf"(?P<number>\d{{1,3}}){_NOT_A_NUMBER}",
    re.I,
)
_MORE = re.compile(
    rf"[)\]]?(?:{_JOIN})[#(\[]?(?P<token>\d{{1,3}}|(?-i:[A-HJ-Z])|{_CARDINAL})(?![\w&'’%])", re.I
)
_RANGE = re.compile(
    rf"{_G}*(?:-|–|—|~|\bto\b|\bthrough\b){_G}*(?P<token>\d{{1,3}}|(?-i:[A-Z]))\b", re.I
)
_THROUGH = re.compile(rf"{_G}+through{_G}+{_NOUN}", re.I)
_ROMAN = re.compile(rf"\b{_NOUN}{_G}+(?-i:[IVX]{{2,}}|[IVX]{{1,4}}(?=[.,:;?!)]|$))(?!\w)", re.I)
_ORDINALS = re.compile(
    rf"\b(?:(?P<det>the|an?){_G}+)?{_ORDINAL}(?:{_JOIN}(?:the{_G}+)?{_ORDINAL})*(?![\w-])", re.I
)
_ONE_ORDINAL = re.compile(rf"\b{_ORDINAL}(?!\w)", re.I)
_SIDES = re.compile(
    rf"\b(?:the{_G}+)?(?P<a>left(?:most)?|right(?:most)?)(?:[ \t-]?hand)?(?:{_G}+side)?"
    rf"(?:(?:{_JOIN})(?:the{_G}+)?(?P<b>left(?:most)?|right(?:most)?)(?:[ \t-]?hand)?)?"
    rf"{_G}+(?:{_ADJECTIVE}{_G}+)?{_NOUN}",
    re.I,
)
_ON_THE_SIDE = re.compile(
    rf"\b{_NOUN}{_G}+(?:(?:that|which){_G}+is{_G}+|shown{_G}+)?(?:on|at|to){_G}+the{_G}+(?P<a>left|right)"
    r"(?:[ \t-]?hand)?(?: side)?(?![\w-])",
    re.I,
)
_SIDE_WORD = re.compile(
    rf"(?P<lead>(?:\b(?:one|ones|that|those){_G}+)?\b(?:on|at|to|from|in|toward|towards|of){_G}+)?"
    rf"\bthe{_G}+(?P<a>left|right)(?![\w-])(?P<one>{_G}+ones?\b)?",
    re.I,
)
_EITHER_SIDE = re.compile(
    rf"\bthe{_G}+(?:left|right)(?:{_G}+ones?)?,?{_G}+(?:or|and|versus|vs\.?){_G}+(?:the{_G}+)?"
    r"(?:left|right)\b",
    re.I,
)
_CORRECT = re.compile(
    rf"\b(?:choose|select|pick|find|identify|click|is|determine|mark|give|guess){_G}+(?:out{_G}+)?"
    rf"(?:the{_G}+)?right{_G}+{_NOUN}",
    re.I,
)
_PART = re.compile(rf"{_G}+(?:borders?|edges?|half|sides?|corners?|part|quality|size)\b", re.I)

_INSIDE = re.compile(rf"(?:[ \t-]?hand)?{_G}+(?:side|half|of|part|edge|corner)\b", re.I)

_REFUSED: list[tuple[str, re.Pattern[str]]] = [
    (
        "place_relative_to_another_image",
        re.compile(
            rf"\b(?:previous|next|preceding|subsequent|succeeding|earlier|prior|adjacent|neighbou?ring)"
            rf"{_G}+(?:\w+{_G}+)?{_NOUN}"
            rf"|\b(?:before|after)(?:[ \t-]and[ \t-]after)?[ \t-]+{_NOUN}"
            rf"|\b{_NOUN}{_G}+(?:(?:that|which){_G}+)?(?:(?:is|are|comes?|appears?){_G}+)?"
            rf"(?:immediately{_G}+|directly{_G}+|just{_G}+)?"
            rf"(?:(?:on|to|at){_G}+the{_G}+(?:left|right)(?:{_G}+side)?{_G}+of|(?:left|right){_G}+of"
            rf"|next{_G}+to|before|after|between|beside|following|preceding|adjacent{_G}+to)"
            rf"{_G}+(?:the|it|this|that|{_CORE})\b",
            re.I,
        ),
    ),
    (
        "former_or_latter",
        re.compile(rf"\b(?:former|latter){_G}+(?:one|{_NOUN})", re.I),
    ),
    (
        "place_of_another_layout",
        re.compile(
            rf"\bthe{_G}+(?:top|bottom|upper|lower|cent(?:er|re|ral))(?:most)?(?:{_G}+(?:left|right))?"
            rf"{_G}+{_NOUN}(?!{_G}+(?:quality|resolution|size|border|edge|corner|half|part))",
            re.I,
        ),
    ),
    ("unclear_name", _ROMAN),
    (
        "order_has_a_meaning",
        re.compile(
            rf"\bin{_G}+(?:this|that|the{_G}+(?:given|shown|displayed|presented|same)){_G}+order\b"
            rf"|\b(?:consecutive|successive|sequential|chronological){_G}+{_NOUN}"
            rf"|\b{_CORE}{_G}+sequence\b|\bsequence{_G}+of{_G}+(?:the{_G}+)?{_NOUN}"
            rf"|\b{_CORE}[^.?!\n]{{0,20}}\bfrom{_G}+left{_G}+to{_G}+right",
            re.I,
        ),
    ),
]


def english_atoms(text: str, slots: Slots, ordering: bool) -> list[Atom]:
    """The atoms of `text`, in order; `ordering` where the question asks for an order.

    Raises:
        Refused: at words that name an image by its place and cannot be rewritten truthfully.
    """
    for reason, pattern in _REFUSED:
        if (match := pattern.search(text)) and not (ordering and reason == "order_has_a_meaning"):
            raise Refused(reason, match.group())
    numbered = [*_numbered(text, slots), *_options(text, slots)]
    places = list(_places(text, slots, ordering))
    atoms = [*numbered, *places, *_sides(text, slots)]
    lists = len(atoms) > 1
    if not lists and not ordering and (match := re.search(r"\brespectively\b", text, re.I)):
        raise Refused("order_has_a_meaning", match.group())
    _refuse_set(text, slots)
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
        if _loose(match["noun"], slots):
            raise Refused("unclear_name", match.group())
        found = _listed(text, match, group, slots)
        yield from found


def _options(text: str, slots: Slots) -> Iterator[Atom]:
    if slots.lettered:
        for match in _OPTION.finditer(text):
            yield from _listed(text, match, "letter", slots)
    for match in _NUMBERED_OPTION.finditer(text):
        if match["noun"].lower().rstrip("s") in slots.nouns:
            yield from _listed(text, match, "number", slots)


def _listed(text: str, match: re.Match[str], group: str, slots: Slots) -> list[Atom]:
    """The name that `match` ends with and those joined to it ("images 1, 2 and 3")."""
    atoms: list[Atom] = []
    start, token = match.start(group), match[group]
    plural = match["noun"].lower().rstrip(".").endswith("s")
    while True:
        phrase = text[match.start() : start + len(token)]
        end = start + len(token)
        if reach := _RANGE.match(text, end):
            # "From image 1 to 3" has a direction.
            both_ways = plural or not reach.group().strip().lower().startswith(("to", "through"))
            if not atoms and both_ways and _covers_all(token, reach["token"], slots):
                return []
            raise Refused("set_of_images", text[match.start() : reach.end()])
        if through := _THROUGH.match(text, end):
            raise Refused("set_of_images", text[match.start() : through.end()])
        atoms.append(slots.names.atom(start, token, phrase))
        more = _MORE.match(text, start + len(token))
        if more is None or _style(more["token"], slots) != atoms[0].name.style:
            return atoms
        if not (plural or re.match(rf"{_PRONOUN_ENDS}|{_JOIN}", text[more.end() :], re.I)):
            _refuse_unless_counted(text, match.start(), more, slots)
            return atoms
        start, token = more.start("token"), more["token"]


def _refuse_unless_counted(text: str, start: int, more: re.Match[str], slots: Slots) -> None:
    """Let "image 1 and 2 dogs" pass, and refuse "image 1 and 2 match"."""
    name = read_name(more["token"], slots.names.count)
    counted = re.match(rf"{_G}+\w+s\b", text[more.end() :])
    if name is not None and slots.names.slot(name) is not None and not counted:
        raise Refused("unclear_name", text[start : more.end()])


def _covers_all(first: str, last: str, slots: Slots) -> bool:
    """Whether a range of names holds the same images under every order."""
    names = [read_name(token, slots.names.count) for token in (first, last)]
    if names[0] is None or names[1] is None or names[0].family != names[1].family:
        return False
    values = slots.names.slots[names[0].family]
    within = range(names[0].value, names[1].value + 1)
    return set(within) <= set(values) and slots.names.stable({values[one] for one in within})


def _style(token: str, slots: Slots) -> str:
    name = read_name(token, slots.names.count)
    return "" if name is None else name.style


def _loose(noun: str, slots: Slots) -> bool:
    return re.fullmatch(_CORE, noun, re.I) is None and noun.lower().rstrip("s.") not in slots.nouns


def _places(text: str, slots: Slots, ordering: bool) -> Iterator[Atom]:
    """Ordinals with a noun behind them, and the pronouns that lean on one in the same sentence."""
    pronouns, sentences = [], set()
    for match in _ORDINALS.finditer(text):
        kind = _tail(text, match, slots)
        if kind in ("pronoun", "unclear", "word"):
            pronouns.append((match, kind))
        elif kind == "image":
            atoms = _ordinal_atoms(match, slots)
            if ordering and any(atom.slot in slots.names.movable for atom in atoms):
                raise Refused("place_shown_or_to_recover", match.group())
            sentences.add(_sentence(text, match.start()))
            yield from atoms
    for match, kind in pronouns:
        tokens = _ONE_ORDINAL.findall(match.group())
        names = [read_name(token.lower(), slots.names.count) for token in tokens]
        named = {slots.names.slot(name) for name in names if name is not None}
        inside = {slot for slot in named if slot is not None}
        if len(inside) < len(tokens) or slots.names.stable(inside):
            continue
        asked = _ASKED.search(text[: match.start()]) is not None
        if kind == "word" and not sentences and not asked:
            continue
        if kind != "pronoun" or _sentence(text, match.start()) not in sentences:
            raise Refused("unclear_place", match.group())
        yield from _ordinal_atoms(match, slots)


def _tail(text: str, match: re.Match[str], slots: Slots) -> str:
    """What the ordinals of `match` stand for: "image", "pronoun", "" (no image).

    Or "unclear" (a list), or "word" (something that the next word says, which may be no noun).
    """
    after, found = text[match.end() :], match.group()
    phrase = found + after[:40].split("\n")[0]
    if noun := re.match(rf"{_G}+(?:{_ADJECTIVE}{_G}+)?(?P<noun>{_NOUN})", after, re.I):
        if re.search(r"\bfinal\b", found, re.I) or _loose(noun["noun"], slots):
            raise Refused("unclear_place", found + noun.group())
        if (match["det"] or "").lower() in ("a", "an") or re.match(
            rf"{_G}+from{_G}+the{_G}+", after[noun.end() :], re.I
        ):
            raise Refused("unclear_place", phrase)
        return "image"
    of = rf"{_G}+of{_G}+(?:the|these|those)(?:{_G}+(?P<n>\d+|{_CARDINAL}))?{_G}+{_NOUN}"
    if part := re.match(of, after, re.I):
        said = read_name(part["n"], 0) if part["n"] else None
        if said is not None and said.value != slots.names.count:
            raise Refused("unclear_place", found + part.group())
        return "image"
    if re.match(rf"{_G}+ones?\b", after, re.I):
        return "pronoun"
    if re.match(rf"{_G}+(?:{_CARDINAL}|\d+|few|half|pair|several)\b", after, re.I):
        return ""
    unclear = rf"{_G}+(?!(?:is|are|and|or|of|in|on|has|to|with|at)\b)[\w-]+{_G}+{_CORE}(?![\w-])"
    if match["det"] and (words := re.match(unclear, after, re.I)):
        raise Refused("unclear_place", found + words.group())
    several = len(_ONE_ORDINAL.findall(found)) > 1
    if ((match["det"] or "").lower() == "the" or several) and re.match(_PRONOUN_ENDS, after, re.I):
        return "pronoun"
    if several:
        return "unclear"
    the = (match["det"] or "").lower() == "the"
    return "word" if the and not _COUNTED.match(after) else ""


def _ordinal_atoms(match: re.Match[str], slots: Slots) -> list[Atom]:
    return [
        slots.names.atom(match.start() + one.start(), one.group(), match.group())
        for one in _ONE_ORDINAL.finditer(match.group())
    ]


def _sentence(text: str, place: int) -> int:
    """The number of the sentence that holds `place`."""
    return len(re.findall(r"[.?!。？！](?=\s)|\n", text[:place]))


def _sides(text: str, slots: Slots) -> Iterator[Atom]:
    """Left and right beside a noun, and the pronouns that lean on one in the same sentence."""
    nouned, sentences = [], set()
    for pattern in (_SIDES, _ON_THE_SIDE):
        for match in pattern.finditer(text):
            if _PART.match(text, match.end()):
                raise Refused("side_of_or_inside_an_image", match.group())
            nouned.append(match.span())
            sentences.add(_sentence(text, match.start()))
            yield from _side_atoms(match, slots)
    words = [one for one in _SIDE_WORD.finditer(text) if not _within(one.start("a"), nouned)]
    correct = _CORRECT.search(text)
    if correct and not re.search(r"\bleft\b", text, re.I):
        raise Refused("right_may_mean_correct", correct.group())
    pronouns = [one for one in words if _stands_alone(text, one)]
    both = [one.span() for one in _EITHER_SIDE.finditer(text)]
    for match in pronouns:
        if _sentence(text, match.start()) in sentences:
            yield from _side_atoms(match, slots)
        elif slots.names.slots["side"] and not _within(match.start("a"), both):
            raise Refused("side_of_or_inside_an_image", match.group())
    for match in words:
        inside = re.match(
            rf"(?:[ \t-]?hand)?{_G}+(?:side|half|of|part|edge|corner)\b", text[match.end() :]
        )
        if nouned and match["lead"] and match not in pronouns and not inside:
            raise Refused("side_of_or_inside_an_image", match.group())


def _stands_alone(text: str, match: re.Match[str]) -> bool:
    """Whether "the left", "the right one" or "the one on the left" stands for an image."""
    if match["one"]:
        return True
    if match["lead"] and not re.match(r"(?:one|ones|that|those)\b", match["lead"], re.I):
        return False
    return re.match(_PRONOUN_ENDS, text[match.end() :], re.I) is not None


def _side_atoms(match: re.Match[str], slots: Slots) -> Iterator[Atom]:
    for group in ("a", "b"):
        if match.groupdict().get(group):
            yield slots.names.atom(match.start(group), match[group], match.group())


def _within(place: int, spans: list[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)


_SET = re.compile(
    rf"\b(?P<which>first|last|latter|former|final){_G}+(?P<n>{_CARDINAL}|\d+|few|half|several|pair)"
    rf"(?:{_G}+\w+)?{_G}+(?:of{_G}+the{_G}+)?{_NOUN}",
    re.I,
)


_LATTER_SET = re.compile(rf"\b(?P<which>latter|former){_G}+(?P<n>{_CARDINAL}|\d+)\b", re.I)


def _refuse_set(text: str, slots: Slots) -> None:
    """Refuse "the first two images", unless the same images are meant in every order."""
    for match in (*_SET.finditer(text), *_LATTER_SET.finditer(text)):
        said = read_name(match["n"], 0)
        count = slots.names.count
        if said is None or said.value > count:
            raise Refused("set_of_images", match.group())
        front = match["which"].lower() in ("first", "former")
        meant = range(said.value) if front else range(count - said.value, count)
        if not slots.names.stable(set(meant)):
            raise Refused("set_of_images", match.group())
