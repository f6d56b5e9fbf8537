"""Reads and spells the names of images.

A name is a token of text in some style: "2", "2nd", "second", "two", "B", "left", "二". Styles that
count the same thing form a family; in each family an image has one value, counted from 1.
"""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Family = Literal["number", "place", "letter", "side"]

ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"),
    *("tenth", "eleventh", "twelfth"),
)
CARDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
CHINESE = tuple("一二三四五六七八九十")
_CIRCLED = tuple("①②③④⑤⑥⑦⑧⑨⑩")

# For each style its family and its words; the first word has the value 1.
_VOCABULARY: dict[str, tuple[Family, tuple[str, ...]]] = {
    "ordinal": ("place", ORDINALS),
    "cardinal": ("number", CARDINALS),
    "chinese": ("number", CHINESE),
    "circled": ("number", _CIRCLED),
    "letter": ("letter", tuple(string.ascii_uppercase)),
    "side": ("side", ("left", "right")),
    "extreme": ("side", ("leftmost", "rightmost")),
    "chinese side": ("side", ("左", "右")),
}


class Refused(Exception):
    """A sample cannot be asked in another order; says the reason and the words that cause it."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = " ".join(text.split())


@dataclass(frozen=True)
class Name:
    """A token that names an image: its style, the style's family, and its value."""

    style: str
    family: Family
    value: int


@dataclass(frozen=True)
class Atom:
    """A name at `start:end` of a text, and the slot that it names in the original order."""

    start: int
    end: int
    name: Name
    slot: int


def read_name(token: str, count: int) -> Name | None:
    """The name that `token` is, among `count` images ("last" depends on it); None for no name."""
    word = token.lower()
    if word.isascii() and word.isdecimal():
        return Name("number", "number", int(word))
    if re.fullmatch(r"\d{1,3}(?:st|nd|rd|th)", word, re.ASCII):
        return Name("nth", "place", int(word[:-2]))
    if word in ("last", "最后一"):
        return Name("last" if word == "last" else "chinese last", "place", count)
    if word == "middle" and count % 2:
        return Name("middle", "place", (count + 1) // 2)
    for style, (family, words) in _VOCABULARY.items():
        wanted = token.upper() if style == "letter" else word
        if wanted in words:
            return Name(style, family, words.index(wanted) + 1)
    return None


def can_spell(style: str, value: int) -> bool:
    """Whether the style has a word for `value`."""
    if style in ("last", "middle"):
        style = "ordinal"
    if style in ("number", "nth"):
        return value >= 0
    words = CHINESE if style == "chinese last" else _VOCABULARY[style][1]
    return 1 <= value <= len(words)


def spell(value: int, like: Name, token: str) -> str:
    """`value` in the style and capitals of `token`, whose name is `like`.

    "last" and "middle" exist for one place only: other places are spelled as ordinals.
    """
    if value == like.value:
        return token
    if like.style == "number":
        return str(value).zfill(len(token)) if token.startswith("0") else str(value)
    if like.style == "chinese last":
        return "第" + CHINESE[value - 1]
    if like.style == "nth":
        word = str(value) + _suffix(value)
    else:
        style = "ordinal" if like.style in ("last", "middle") else like.style
        word = _VOCABULARY[style][1][value - 1].lower()
    if token.isupper():
        return word.upper()
    return word.capitalize() if token[0].isupper() else word


@dataclass(frozen=True)
class Names:
    """The slot that each value of each family names; a family may name only some slots or none."""

    count: int
    fixed: frozenset[int]
    slots: Mapping[Family, Mapping[int, int]]

    @property
    def movable(self) -> frozenset[int]:
        """The slots whose images move."""
        return frozenset(range(self.count)) - self.fixed

    def stable(self, slots: set[int]) -> bool:
        """Whether `slots` show the same set of images in every order."""
        moving = slots & self.movable
        return not moving or moving == self.movable

    def slot(self, name: Name) -> int | None:
        """The slot that `name` names, if any."""
        return self.slots[name.family].get(name.value)

    def value(self, slot: int, family: Family) -> int:
        """The value of `slot` in `family`."""
        return next(value for value, named in self.slots[family].items() if named == slot)

    def names_all(self, name: Name) -> bool:
        """Whether every slot to which an image may move has a name in the style of `name`."""
        named = {slot: value for value, slot in self.slots[name.family].items()}
        return all(slot in named and can_spell(name.style, named[slot]) for slot in self.movable)

    def atom(self, start: int, token: str, phrase: str) -> Atom:
        """The atom of `token` at `start`.

        Raises:
            Refused: when it names no image, or the image may move to a slot without a name.
        """
        name = read_name(token, self.count)
        if name is None:
            raise Refused("unclear_name", phrase)
        if name.family == "side" and not self.slots["side"]:
            raise Refused("left_or_right_of_more_than_two", phrase)
        slot = self.slot(name)
        if slot is None:
            raise Refused("names_an_image_that_is_not_there", phrase)
        if slot in self.movable and not self.names_all(name):
            raise Refused("slot_without_a_name", phrase)
        return Atom(start, start + len(token), name, slot)


def _suffix(value: int) -> str:
    if value % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
