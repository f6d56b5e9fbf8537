"""Finds the names of images in Chinese text: 图1, 图片二, 第二张图, 左图."""

import re
from collections.abc import Iterator

from shared.permutation.names import Atom, Name, Refused, can_spell, read_name
from shared.permutation.slots import Slots

_NOUN = r"(?:图片|图像|照片|图)"
_NUMBER = r"(?:\d{1,2}|[一二三四五六七八九十]|[①-⑩]|[A-HJ-Z])"
_NUMBERED = re.compile(
    rf"{_NOUN}[ \t]*[(（]?(?P<token>{_NUMBER})(?![\d%A-Za-z样些直定般个种张幅下共])"
)
_MORE = re.compile(rf"[)）]?[、和与及或](?P<token>{_NUMBER})(?![\dA-Za-z个只张条次名位头匹种幅])")
_RANGE = re.compile(rf"[)）]?[ \t]*[.~～至到\-–—][ \t]*(?:{_NOUN}|\d)")
_PLACE = re.compile(
    rf"(?:第(?P<token>[一二三四五六七八九十]|\d{{1,2}})|(?P<last>最后一))(?:[张幅]|个{_NOUN})"
)
_SIDE = re.compile(rf"(?P<token>[左右])(?:边|侧)?的?(?:那张|一张|那幅|一幅)?{_NOUN}")
_REFUSED = [
    ("unclear_name", re.compile(r"图[甲乙丙丁戊]")),
    ("place_relative_to_another_image", re.compile(r"(?<!最)[前后上下]一[张幅]")),
    ("set_of_images", re.compile(r"[前后][两二三四五六七八九十\d]+[张幅]")),
    (
        "place_of_another_layout",
        re.compile(rf"(?:中间|上面|下面|上方|下方)的?(?:那张|一张|那幅|一幅)?{_NOUN}"),
    ),
]


def chinese_atoms(text: str, slots: Slots, ordering: bool) -> Iterator[Atom]:
    """The atoms of Chinese text; arguments as for `english_atoms`.

    Raises:
        Refused: when words name an image by its place and no rewriting keeps their meaning.
    """
    for reason, pattern in _REFUSED:
        if match := pattern.search(text):
            raise Refused(reason, match.group())
    for match in _NUMBERED.finditer(text):
        start, token = match.start("token"), match["token"]
        while True:
            if found := _RANGE.match(text, start + len(token)):
                raise Refused("set_of_images", text[match.start() : found.end()])
            yield slots.names.atom(start, token, match.group())
            more = _MORE.match(text, start + len(token))
            if more is None:
                break
            start, token = more.start("token"), more["token"]
    for match in _PLACE.finditer(text):
        if ordering:
            raise Refused("place_shown_or_to_recover", match.group())
        yield _place(match, slots)
    for match in _SIDE.finditer(text):
        yield slots.names.atom(match.start("token"), match["token"], match.group())


def _place(match: re.Match[str], slots: Slots) -> Atom:
    """The atom of 第二张; its numeral counts places, even where labels have other numbers."""
    names = slots.names
    if match["last"]:
        return names.atom(match.start("last"), match["last"], match.group())
    read = read_name(match["token"], names.count)
    assert read is not None  # the pattern admits numerals only
    name = Name(read.style, "place", read.value)
    slot = names.slot(name)
    if slot is None:
        raise Refused("names_an_image_that_is_not_there", match.group())
    if slot in names.movable and not (can_spell(name.style, name.value) and names.names_all(name)):
        raise Refused("slot_without_a_name", match.group())
    return Atom(match.start("token"), match.end("token"), name, slot)
