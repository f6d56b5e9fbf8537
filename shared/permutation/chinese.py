"""Finds the names of images in Chinese text: 图1, 图片二, 第二张图, 左图."""

import re
from collections.abc import Iterator

from shared.permutation.names import Atom, Name, Refused, can_spell, read_name
from shared.permutation.slots import Slots

_NOUN = r"(?:图片|图像|图象|照片|图|圖片|圖像|圖)"
_OF = r"[张張幅]"
_NUMBER = r"(?:\d{1,2}|[一二三四五六七八九十]|[①-⑩]|[A-HJ-Z])"
_NUMBERED = re.compile(
    rf"{_NOUN}[ \t]*[(（]?(?P<token>{_NUMBER})(?![\d%A-Za-z样樣些直定般个個种種张張幅下共])"
)
_SMALL = re.compile(rf"{_NOUN}[ \t]*[(（]?(?P<token>[a-h])(?![\dA-Za-z])")
_MORE = re.compile(
    rf"[)）]?(?:[、和与與及或,，]|以及)[(（]?(?P<token>{_NUMBER})(?![\dA-Za-z个個只隻张張条條次名位头匹种種幅])"
)
_BESIDE = re.compile(rf"[)）][(（](?P<token>{_NUMBER})(?=[)）])")
_RANGE = re.compile(
    rf"[)）]?[ \t]*(?:[.~～至到—–-]+)[ \t]*(?P<noun>{_NOUN}[ \t]*)?[(（]?(?P<token>{_NUMBER})"
)
_PLACE = re.compile(
    rf"(?:第(?P<token>[一二三四五六七八九十]|\d{{1,2}})|(?P<last>最后一))(?:{_OF}|[个個]{_NOUN})"
)
_SIDE = re.compile(
    rf"(?P<token>[左右])(?P<side>[边邊侧側])?(?P<of>的)?"
    rf"(?:(?:那张|一张|那張|一張|那幅|一幅)?{_NOUN}|(?:那张|那張|那幅))"
)
_SHOWN = re.compile(r"[如见見看据據由观觀]$")
_REFUSED = [
    ("unclear_name", re.compile(rf"{_NOUN}[ \t]*[(（]?[甲乙丙丁戊]")),
    ("place_relative_to_another_image", re.compile(rf"(?<!最)[前后後上下]一{_OF}")),
    ("set_of_images", re.compile(rf"[前后後][两兩二三四五六七八九十\d]+{_OF}")),
    (
        "unclear_place",
        re.compile(
            rf"[左右][、和与及][左右][两兩]?{_OF}?{_NOUN}|从[左右上下][^，。]{{0,4}}第.{_OF}"
        ),
    ),
    (
        "place_of_another_layout",
        re.compile(
            rf"(?:中间|中間|上面|下面|上方|下方)的?(?:那张|一张|那張|一張|那幅|一幅)?{_NOUN}"
        ),
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
    for match in (*_NUMBERED.finditer(text), *_small(text, slots)):
        yield from _listed(text, match, slots)
    for match in _PLACE.finditer(text):
        if ordering:
            raise Refused("place_shown_or_to_recover", match.group())
        yield _place(match, slots)
    sides = list(_SIDE.finditer(text))
    _refuse_beside_the_text(text, sides, slots)
    for match in sides:
        yield slots.names.atom(match.start("token"), match["token"], match.group())


def _small(text: str, slots: Slots) -> Iterator[re.Match[str]]:
    """图a, 图(b), where labels are small letters."""
    for match in _SMALL.finditer(text):
        if not slots.small:
            raise Refused("unclear_name", match.group())
        yield match


def _listed(text: str, match: re.Match[str], slots: Slots) -> Iterator[Atom]:
    """The name at the end of `match` and the names joined to it: 图(1)、(2)和(3)."""
    start, token = match.start("token"), match["token"]
    while True:
        reach = _RANGE.match(text, start + len(token))
        if reach and not (reach["noun"] and slots.names.count == 2):
            raise Refused("set_of_images", text[match.start() : reach.end()])
        yield slots.names.atom(start, token, match.group())
        end = start + len(token)
        more = _MORE.match(text, end) or _BESIDE.match(text, end)
        if more is None or _counts_something(text, more):
            return
        start, token = more.start("token"), more["token"]


def _counts_something(text: str, more: re.Match[str]) -> bool:
    """Whether a comma and a bare number begin another clause: 图1，2+3=5, but not 图1，2所示."""
    bare = more.group()[0] in ",，" and "(" not in more.group() and "（" not in more.group()
    return bare and re.match(r"[所中的是和与及、]", text[more.end() :]) is None


def _refuse_beside_the_text(text: str, sides: list[re.Match[str]], slots: Slots) -> None:
    """Refuse one side alone where it may be that of the page: 如右图所示."""
    words = set(re.findall("[左右](?!视|視)", text))
    things = {one[0] for one in re.findall(r"[左右][边邊侧側](?!形|图)", text)}
    if len(things) > 1 and not sides and slots.names.slots["side"]:
        raise Refused("side_of_or_inside_an_image", "左边 右边")
    for match in sides:
        shown = _SHOWN.search(text[: match.start()])
        whole = not match["side"] and not match["of"]
        page = shown or text[match.end() :].startswith("所示") or match.start() < slots.first_tag
        if len(words) == 1 and (whole or page):
            raise Refused("side_may_be_beside_the_text", match.group())


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
