"""Names by place in English text: "the second picture", "the first and the last", "the second"."""

import re
from collections.abc import Iterator

from shared.permutation.english import (
    ADJECTIVE,
    CARDINAL,
    CORE,
    JOIN,
    NOUN,
    ORDINAL,
    PRONOUN_ENDS,
    G,
    may_be_inside,
    sentence_number,
)
from shared.permutation.names import Atom, Refused, read_name
from shared.permutation.slots import Slots

# With one of these before it, "the second red" is part of a question, and may mean an image.
_ASKED = re.compile(
    rf"(?:^|[.?!:,;\n]{G}*|\b(?:or|and){G}+)(?:is|are|was|were|does|do|did|has|have|can|could){G}+$",
    re.I,
)
# Nouns whose ordinals count something inside an image, or time.
_COUNTED = re.compile(
    rf"{G}+(?:times?|place|half|row|column|line|floor|day|week|month|year|step|digit|letter|word)\b",
    re.I,
)
_ORDINALS = re.compile(
    rf"\b(?:(?P<det>the|an?){G}+)?{ORDINAL}(?:{JOIN}(?:the{G}+)?{ORDINAL})*(?![\w-])", re.I
)
_ONE_ORDINAL = re.compile(rf"\b{ORDINAL}(?!\w)", re.I)
_SET = re.compile(
    rf"\b(?P<which>first|last|latter|former|final){G}+(?P<n>{CARDINAL}|\d+|few|half|several|pair)"
    rf"(?:{G}+\w+)?{G}+(?:of{G}+the{G}+)?{NOUN}",
    re.I,
)
_LATTER_SET = re.compile(
    rf"\b(?:(?P<which>latter|former){G}+(?P<n>{CARDINAL}|\d+)\b"
    rf"|(?P<which2>first|last){G}+(?P<n2>(?!one\b|1\b)(?:{CARDINAL}|\d+))(?:{G}+ones|{PRONOUN_ENDS}))",
    re.I,
)


def place_atoms(text: str, slots: Slots, ordering: bool) -> Iterator[Atom]:
    """The atoms of ordinals with a noun, and of pronouns ("the second") in the same sentence.

    Raises:
        Refused: when an ordinal may mean an image but that is not certain.
    """
    pronouns, sentences = [], set()
    for match in _ORDINALS.finditer(text):
        kind = _tail(text, match, slots)
        if kind in ("pronoun", "unclear", "word"):
            pronouns.append((match, kind))
        elif kind == "image":
            atoms = _ordinal_atoms(match, slots)
            if ordering and any(atom.slot in slots.names.movable for atom in atoms):
                raise Refused("place_shown_or_to_recover", match.group())
            sentences.add(sentence_number(text, match.start()))
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
        if kind != "pronoun" or sentence_number(text, match.start()) not in sentences:
            raise Refused("unclear_place", match.group())
        yield from _ordinal_atoms(match, slots)


def _tail(text: str, match: re.Match[str], slots: Slots) -> str:
    """What the ordinals of `match` mean: "image", "pronoun" or "" (no image).

    Also "unclear" (a list), or "word" (the next word decides, and it may not be a noun).
    """
    after, found = text[match.end() :], match.group()
    phrase = found + after[:40].split("\n")[0]
    if noun := re.match(rf"{G}+(?:{ADJECTIVE}{G}+)?(?P<noun>{NOUN})", after, re.I):
        if re.search(r"\bfinal\b", found, re.I) or may_be_inside(noun["noun"], slots):
            raise Refused("unclear_place", found + noun.group())
        if (match["det"] or "").lower() in ("a", "an") or re.match(
            rf"{G}+from{G}+the{G}+", after[noun.end() :], re.I
        ):
            raise Refused("unclear_place", phrase)
        return "image"
    of = rf"{G}+of{G}+(?:the|these|those)(?:{G}+(?P<n>\d+|{CARDINAL}))?{G}+{NOUN}"
    if part := re.match(of, after, re.I):
        said = read_name(part["n"], 0) if part["n"] else None
        if said is not None and said.value != slots.names.count:
            raise Refused("unclear_place", found + part.group())
        return "image"
    if re.match(rf"{G}+ones?\b", after, re.I):
        return "pronoun"
    if re.match(rf"{G}+(?:{CARDINAL}|\d+|few|half|pair|several)\b", after, re.I):
        return ""
    unclear = rf"{G}+(?!(?:is|are|and|or|of|in|on|has|to|with|at)\b)[\w-]+{G}+{CORE}(?![\w-])"
    if match["det"] and (words := re.match(unclear, after, re.I)):
        raise Refused("unclear_place", found + words.group())
    several = len(_ONE_ORDINAL.findall(found)) > 1
    if ((match["det"] or "").lower() == "the" or several) and re.match(PRONOUN_ENDS, after, re.I):
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


def refuse_set(text: str, slots: Slots) -> None:
    """Refuse "the first two images", unless these are the same images in every order."""
    for match in (*_SET.finditer(text), *_LATTER_SET.finditer(text)):
        groups = match.groupdict()
        said = read_name(groups["n"] or groups["n2"], 0)
        count = slots.names.count
        if said is None or said.value > count:
            raise Refused("set_of_images", match.group())
        front = (groups["which"] or groups["which2"]).lower() in ("first", "former")
        meant = range(said.value) if front else range(count - said.value, count)
        if not slots.names.stable(set(meant)):
            raise Refused("set_of_images", match.group())
