"""Refuses samples whose words name an image by its place in a way that no module can rewrite.

If such words were missed, the question would mean something else after the images have moved.
"""

import re
from collections.abc import Iterable

from shared.permutation.english import CORE, G
from shared.permutation.names import CARDINALS, ORDINALS, Atom, Refused, read_name
from shared.permutation.slots import Slots

_NOUN = rf"{CORE}(?![\w-])"
_ORDINAL = rf"(?:{'|'.join(ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|last)"
_SPOT = r"(?:position|place|slot|spot)"
_COUNT = r"(?:[一二三四五六七八九十]|\d{1,2})"
_NAME = r"(?:\d{1,2}|(?-i:[A-H]))\b"

_DOUBTFUL: list[tuple[str, str]] = [
    # The second-to-last image, the last but one picture
    (
        "unclear_place",
        rf"\b(?:penultimate|{_ORDINAL}[ \t-]to[ \t-](?:the[ \t-])?last|(?!last){_ORDINAL}[ \t-]last"
        rf"|last{G}+but{G}+\w+){G}+{_NOUN}",
    ),
    # Every other image, the two first images
    ("set_of_images", rf"\b(?:every|each){G}+(?:other|{_ORDINAL}){G}+{_NOUN}"),
    ("set_of_images", rf"\b(?:{'|'.join(CARDINALS[1:])}|\d{{1,2}}){G}+(?:first|last){G}+{_NOUN}"),
    # The image in the second position, the picture at place 2
    (
        "unclear_place",
        rf"\b{_NOUN}[^.?!\n]{{0,30}}\b(?:in|at|on){G}+(?:the{G}+)?"
        rf"(?:{_ORDINAL}{G}+{_SPOT}|{_SPOT}{G}+(?:number{G}+)?{_NAME})",
    ),
    # The image shown second, the picture you see first
    (
        "unclear_place",
        rf"\b{_NOUN}{G}+(?:(?:that|which){G}+)?(?:(?:is|was){G}+)?"
        rf"(?:shown|displayed|presented|listed|placed|given|(?:you|we){G}+(?:see|saw)){G}+{_ORDINAL}\b",
    ),
    # The image labelled B, the B image, image (b), image b
    (
        "unclear_name",
        rf"\b{_NOUN}{G}+(?:(?:that|which){G}+is{G}+)?(?:labell?ed|marked|numbered|tagged|called)"
        rf"(?:{G}+(?:as|with))?{G}+[\"'“‘(]?{_NAME}",
    ),
    ("unclear_name", rf"(?:\b(?:the|and|or)|,){G}+(?-i:[A-H]){G}+{_NOUN}"),
    ("unclear_name", rf"\b{_NOUN}{G}*(?:[(\[](?-i:[a-h])[)\]]|{G}(?-i:[b-h])(?![\w'’(.]))"),
    # Compare image 1 with 3
    (
        "unclear_name",
        rf"\b{_NOUN}{G}*[#(]?{_NAME}\)?{G}+(?:with|against){G}+#?{_NAME}(?={G}*(?:[.,;:?!)\n]|$))",
    ),
    # 第一、二张图, 第一和第二张图; 倒数第二张图, 首张图, 第一组图, 第2页; 第三个是
    ("unclear_place", rf"第{_COUNT}[张幅]?[、和与及或,，]第?{_COUNT}[张幅]"),
    ("unclear_place", rf"倒数第{_COUNT}|[首末尾][张幅]|第{_COUNT}(?:[组行列排]的?图|页)"),
    ("unclear_place", rf"第{_COUNT}个(?=[是有和与，。？?]|$)"),
    # ①图, 2号图, B图, 甲图, 甲乙两图; 图b, 图2a
    ("unclear_name", r"(?:[①-⑩]|\d号|(?<![A-Za-z])(?-i:[A-H])|[甲乙丙丁][两]?)图"),
    ("unclear_name", r"图[ \t]*(?-i:[a-h]|\d{1,2}[a-z])(?![A-Za-z])"),
    # 上图, 右下图, but not 以上图片 or 如下图所示
    ("place_of_another_layout", r"(?:[左右][上下]|(?<![以如])[上下])图(?![片像])"),
]
_PATTERNS = [(reason, re.compile(pattern, re.I)) for reason, pattern in _DOUBTFUL]
# Letters in Chinese text, which has no spaces around them.
_LETTER = re.compile(r"(?<=[\u4e00-\u9fff])(?P<token>[A-H])(?![A-Za-z])")
_HASH = re.compile(r"(?<!\w)#[ \t]?(?P<token>\d{1,2})\b")


def refuse_doubtful(text: str, slots: Slots, atoms: Iterable[Atom]) -> None:
    """Look for doubtful words in `text` (tags and labels blanked) outside of its `atoms`.

    Raises:
        Refused: with the words.
    """
    for reason, pattern in _PATTERNS:
        if match := pattern.search(text):
            raise Refused(reason, match.group())
    starts = {atom.start for atom in atoms}
    letters = _LETTER.finditer(text) if slots.lettered else ()
    for match in (*_HASH.finditer(text), *letters):
        name = read_name(match["token"], slots.names.count)
        known = name is not None and slots.names.slot(name) is not None
        if known and match.start("token") not in starts:
            raise Refused("unclear_name", match.group())
