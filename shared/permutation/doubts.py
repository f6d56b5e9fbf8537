"""Refuses samples whose words name an image by its place in a way that no module can rewrite.

If such words were missed, the question would mean something else after the images have moved.
"""

import re
from collections.abc import Iterable, Sequence

from shared.permutation.english import CORE, PRONOUN_ENDS, G
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
    ("unclear_name", rf"(?:\b(?:the|and|or)|,){G}+(?:(?-i:[A-H])|[(][\da-h][)]){G}+{_NOUN}"),
    # No. 2 image; odd-numbered images, the images with even numbers, 奇数张图
    ("unclear_name", rf"\bno\.{G}*\d{{1,2}}{G}+{_NOUN}"),
    (
        "set_of_images",
        rf"\b(?:odd|even)(?:[ \t-]+(?:numbered|indexed|positioned|placed)){G}+{_NOUN}"
        rf"|\b(?:odd|even){G}+(?:images|pictures|pics|photo(?:graph)?s|figures|frames)(?![\w-])"
        rf"|\b{_NOUN}{G}+(?:with|at|in|of|that{G}+have){G}+(?:an?{G}+|the{G}+)?(?:odd|even)"
        rf"(?:[ \t-]+numbered)?{G}+(?:numbers?|index(?:es)?|indices|positions?|places?|labels?)\b"
        rf"|\b(?:alternate|alternating){G}+{_NOUN}"
        r"|第?[奇偶双单]数[张張幅个個号]?的?图|编号为?[奇偶]数",
    ),
    # The top one, the next one
    (
        "place_of_another_layout",
        rf"\b(?:the{G}+)(?:top|bottom|upper|lower|cent(?:er|re|ral))(?:most)?{G}+ones?\b",
    ),
    (
        "place_relative_to_another_image",
        rf"\bthe{G}+(?:next|previous|preceding|following){G}+ones?\b",
    ),
    ("former_or_latter", rf"\bthe{G}+(?:former|latter){G}+ones?\b"),
    # Compare image 1 with 3; in image 1, or in 2
    (
        "unclear_name",
        rf"\b{_NOUN}{G}*[#(]?{_NAME}\)?{G}+(?:with|against){G}+#?{_NAME}(?={G}*(?:[.,;:?!)\n]|$))",
    ),
    (
        "unclear_name",
        rf"\b{_NOUN}{G}*[#(]?{_NAME}\)?[^.?!\n]{{0,40}}\b(?:or|and|than){G}+(?:in|of|from)"
        rf"{G}+#?{_NAME}(?={G}*(?:[.,;:?!)\n]|$))",
    ),
    # The images are numbered 1 to 3
    (
        "unclear_name",
        rf"\b{_NOUN}{G}+(?:are|is|were){G}+(?:numbered|labell?ed|lettered|denoted|indexed|named)"
        rf"(?:{G}+(?:as|with|from|by))?{G}+[\"'“‘(]?{_NAME}",
    ),
    # 第一、二张图, 第一和第二张图; 倒数第二张图, 首张图, 第一组图, 第2页; 第三个是
    ("unclear_place", rf"第{_COUNT}[张幅]?[、和与及或,，]第?{_COUNT}[张幅]"),
    (
        "unclear_place",
        rf"倒数第{_COUNT}|[首末尾](?:[张張幅]|[图圖])|(?:开头|起始|结尾|末尾|最后|最前|最末)的?[张張幅]?[图圖]"
        rf"|头一?[张張幅]|第{_COUNT}(?:[组行列排]的?图|页)",
    ),
    ("unclear_place", rf"第{_COUNT}个(?=[是有和与，。？?]|$)"),
    # The initial image, the image on top, the left-most image, image index 2
    ("unclear_place", rf"\b(?:initial|starting|opening|ending|closing){G}+{_NOUN}"),
    ("place_of_another_layout", rf"\b{_NOUN}{G}+(?:on|at){G}+(?:the{G}+)?(?:top|bottom)(?![\w-])"),
    (
        "unclear_place",
        rf"\b(?:left|right)-most{G}+{_NOUN}|\b{_NOUN}{G}+(?:with{G}+)?index{G}+{_NAME}",
    ),
    ("unclear_name", rf"\bnumber{G}+{_NAME}{G}+{_NOUN}"),
    # The image (left), the picture above and the picture below
    ("unclear_place", rf"\b{_NOUN}{G}*[(](?:left|right|top|bottom|middle)[)]"),
    ("unclear_place", rf"\b{_NOUN}{G}+(?:left|right)(?=[:),])"),
    (
        "place_of_another_layout",
        rf"\b(?:{_NOUN}|ones?){G}+in{G}+the{G}+(?:middle|cent(?:er|re))(?![\w-]|{G}+of\b)",
    ),
    ("place_of_another_layout", rf"\b{_NOUN}{G}+above\b[^\n]*\b{_NOUN}{G}+below\b"),
    # ①图, 2号图, B图, 甲图, 甲乙两图; 图b, 图2a
    ("unclear_name", r"(?:[①-⑩]|\d号|(?<![A-Za-z])(?-i:[A-H])|[甲乙丙丁][两]?)图"),
    ("unclear_name", r"图[ \t]*\d{1,2}(?-i:[a-z])(?![A-Za-z])"),
    # 上图, 右下图, but not 以上图片 or 如下图所示
    ("place_of_another_layout", r"(?:[左右][上下]|(?<![以如])上)图(?![片像])"),
]
# Words that give the images an order, unless names of images say which is which.
_IMPLIED = [
    re.compile(pattern, re.I)
    for pattern in (
        # The images show the time before and after the storm
        r"\bbefore[ \t]+and[ \t]+after\b(?![ \t]+\w+ing\b)|\bafter[ \t]+and[ \t]+before\b",
        rf"\b{_NOUN}[^.?!\n]{{0,40}}\b(?:former|latter)\b(?![ \t-]\w+[ \t]+(?:of|in)\b)",
        r"前者|后者|後者",
        rf"\b(?:are|is|were){G}+(?:the{G}+|these{G}+|all{G}+)?{_NOUN}[^.?!\n]{{0,20}}\bin{G}+(?:\w+{G}+){{0,2}}order\b",
        rf"\b{_NOUN}{G}+are[^.?!\n]{{0,20}}\bin{G}+(?:\w+{G}+){{0,2}}order\b",
        r"(?:[张張幅]图|图片|照片|图像|这些图|各图|[两三四五六七八九]图)[^。？！\n]{0,15}(?:分别|依次)",
        r"(?:[张張幅]图|图片|照片)[^。？！\n]{0,10}从[左右上下][到至往向][左右上下]",
    )
]
_VIEW = re.compile(
    r"\b(front|left|right|top|side|back|rear|bottom|plan|main|overhead|aerial)(?:[ \t-]+side)?"
    r"(?=[ \t]+views?\b|(?:,|[ \t]+and)[ \t]+(?:the[ \t]+)?"
    r"(?:front|left|right|top|side|back|main)\b[^.?!\n]{0,30}\bviews?\b)|([主正左右侧俯仰])(?=视图)",
    re.I,
)
# Figure n, the nth pattern, and so on: the images are the first of a series.
_SERIES = re.compile(
    rf"\b{_NOUN}{G}*[(（]?(?-i:n)\b|\b(?:(?-i:n)-?th|(?-i:n)\^?\{{?th\}}?){G}+\w+"
    r"|\band[ \t]+so[ \t]+(?:on|forth)\b"
    r"|\b(?:the|this|that|same)[ \t]+(?:pattern|rule|trend|sequence)[ \t]+"
    r"(?:continues?|goes|holds|is[ \t]+continued)"
    r"|\b(?:following|continu\w+|according[ \t]+to|by|in)[ \t]+(?:the|this|that)[ \t]+"
    r"(?:same[ \t]+)?(?:pattern|rule|way|law)\b"
    r"|\b(?:end|beginning|start)[ \t]+of[ \t]+the[ \t]+(?:story|comic|video|clip|sequence|strip)\b"
    r"|第[ \t]*(?-i:n)[ \t]*[个個张張幅]|第[ \t]*[(（]?(?-i:n)[)）]?[ \t]*[个個]?图"
    r"|图[ \t]*[(（]?(?-i:n)(?![A-Za-z])"
    r"|(?:按|照|依|根据|观察)[^，。]{0,6}规律|[以依]此类推|规律排列",
    re.I,
)
_TENTH = re.compile(
    rf"\bthe{G}+(?P<token>{_ORDINAL}|\d{{1,3}}th)(?={G}*[.?!,]|{G}+(?:one|have|has)\b)", re.I
)

_PATTERNS = [(reason, re.compile(pattern, re.I)) for reason, pattern in _DOUBTFUL]
# Letters in Chinese text, which has no spaces around them.
_LETTER = re.compile(r"(?<=[\u4e00-\u9fff])(?P<token>[A-H])(?![A-Za-z])")
# A second name without its noun, behind the first one.
_SECOND = re.compile(
    rf"\b{_NOUN}{G}*[#(]?(?P<first>{_NAME})\)?[^.?!\n]{{0,60}}?\b(?:but|not|nor|than|except"
    r"|without|unlike|versus|vs\.?|minus|in|from|like|resembles?|match(?:es)?"
    rf"|(?:that|those|ones?|image|copy|version|rotation|reflection|half|part){G}+of"
    r"|(?:or|and|as|while|whereas|from|those|that|to|also)"
    rf"{G}+(?:not{G}+)?(?:in|of|from|on|for|to|by))"
    rf"(?:{G}+(?:not|in|of|from|on|for|at|are|is|also|those|that|it|the))*"
    rf"{G}+[#(]?(?P<token>\d{{1,2}}|(?-i:[A-H]))\b(?![.]\d)"
    rf"(?:(?={G}*(?:[.,;:?!)\n]|$))|{PRONOUN_ENDS})",
    re.I,
)
_OTHER = re.compile(rf"\b(?:the{G}+other|another){G}+{_NOUN}|另[外]?[一]?[张張幅]", re.I)
_ONE_OF_THEM = re.compile(
    rf"\b(?:one|each|either|any|an?){G}+(?:of\b|{_NOUN})|(?<!另)(?<!另外)一[张張幅]|[每其某]", re.I
)
_BRACKET_BEFORE = re.compile(
    r"[(（][ \t]*(?P<token>[a-hA-H]|\d|[一二三四五甲乙丙丁])[ \t]*[)）][ \t]*[图圖](?![片像形])"
)
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
    _refuse_second_name(text, slots, starts)
    _refuse_bracket_before_noun(text, starts)
    _refuse_other(text, atoms)
    letters = _LETTER.finditer(text) if slots.lettered else ()
    for match in (*_HASH.finditer(text), *letters):
        name = read_name(match["token"], slots.names.count)
        known = name is not None and slots.names.slot(name) is not None
        if known and match.start("token") not in starts:
            raise Refused("unclear_name", match.group())


def _refuse_second_name(text: str, slots: Slots, starts: set[int]) -> None:
    """Refuse "in image 2 but not in 1": the bare number would stay when the images move."""
    for match in _SECOND.finditer(text):
        if match.start("token") in starts or match.start("token") - 1 in starts:
            continue
        name = read_name(match["token"], slots.names.count)
        alike = match["first"].isdecimal() == match["token"].isdecimal()
        if alike and name is not None and slots.names.slot(name) is not None:
            raise Refused("unclear_name", match.group())


def _refuse_other(text: str, atoms: Iterable[Atom]) -> None:
    """Refuse "the other image" of a text that names none: it is not the one that comes first."""
    if not list(atoms) and (match := _OTHER.search(text)) and not _ONE_OF_THEM.search(text):
        raise Refused("place_relative_to_another_image", match.group())


def _refuse_bracket_before_noun(text: str, starts: set[int]) -> None:
    """Refuse (a)图, unless the bracket is a name that follows, or the number of a part."""
    found = list(_BRACKET_BEFORE.finditer(text))
    parts = re.search(r"[(（]\d[)）](?![ \t]*[图圖])", text) is not None
    for match in found:
        starts_text = re.search(r"(?:^|[\n。；;？！?!：:])[ \t]*$", text[: match.start()])
        part = match["token"].isdecimal() and starts_text is not None and parts
        if match.start("token") not in starts and not part:
            raise Refused("unclear_name", match.group())


def refuse_implied_order(text: str, slots: Slots, atoms: Sequence[Atom]) -> None:
    """Refuse an invariant question whose words give its images an order.

    Raises:
        Refused: with the words.
    """
    if match := _SERIES.search(text):
        raise Refused("order_has_a_meaning", match.group())
    for match in _TENTH.finditer(text):
        name = read_name(match["token"], slots.names.count)
        if name is not None and name.style != "last" and name.value > slots.names.count:
            raise Refused("order_has_a_meaning", match.group())
    if len(atoms) > 1:
        return
    for pattern in _IMPLIED:
        if match := pattern.search(text):
            raise Refused("order_has_a_meaning", match.group())
    views = {(one[1] or one[2]).lower() for one in _VIEW.finditer(text)}
    if len(views) > 1 and not atoms:
        raise Refused("order_has_a_meaning", ", ".join(sorted(views)) + " view")
