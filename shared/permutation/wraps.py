"""Makes the blanks of a text plain, so that no name is missed for the blanks inside it.

A no-break space and a line break inside a name ("Image⏎2") become spaces. The length stays.
"""

import re

from shared.permutation.names import ORDINALS, Refused

_BLANKS = str.maketrans(dict.fromkeys("\u00a0\u3000\u1680\u202f\u205f\u200b\ufeff\u2060", " "))
_BLANKS |= str.maketrans(dict.fromkeys(map(chr, range(0x2000, 0x200B)), " "))
_NOUN = (
    r"(?:images?|pictures?|pics?|photos?|photographs?|imgs?|figures?|figs?|frames?|panels?|views?"
    r"|diagrams?|graphs?|charts?|scenes?|options?)"
)
_WORD = (
    rf"(?:{'|'.join(ORDINALS)}|\d{{1,2}}(?:st|nd|rd|th)|last|final|middle|left(?:most)?"
    r"|right(?:most)?|former|latter|top|bottom|upper|lower|next|previous|the|of|in|and|or|input"
    r"|given|other)"
)
_BREAK = r"[ \t]*\r?\n[ \t]*"
# "Image⏎2", but not "each image⏎1. How many?"; "the second⏎image", "the⏎second", "图⏎2".
_WRAPPED = re.compile(
    rf"(?<![\w-])(?:{_NOUN}\.?{_BREAK}(?=\#?\d{{1,2}}\b(?![.)、:：]))"
    rf"|{_WORD}{_BREAK}(?=(?:{_NOUN}|{_WORD}|ones?)(?![\w-]))"
    rf"|(?:{_NOUN}\.?[ \t]*\#?\d{{1,2}}[ \t]*,?[ \t]*(?:and|or|to|than|in|of|with)){_BREAK}"
    r"(?=\#?\d))"
    rf"|[图圖片像]{_BREAK}(?=[\d一二三四五六七八九①-⑩](?![.、)）:：]))",
    re.I,
)
_GAP = rf"(?:[ \t]+|{_BREAK})"
_NUMERAL = r"[\d一二三四五六七八九十]{1,2}"
# "in Image⏎2. Say why": a name, or the number of a part? 第二⏎张图, 左 图: no rule reads these.
_UNCLEAR = re.compile(
    rf"\b{_NOUN}{_BREAK}1[.)](?!\d)(?![\s\S]*\n[ \t]*2[.)])"
    rf"|(?:^|\n)(?![ \t]*\d[.)])[^\n]*\b{_NOUN}{_BREAK}[2-9][.)](?!\d)"
    rf"|第{_GAP}?{_NUMERAL}{_GAP}[张張幅]|第{_GAP}{_NUMERAL}[张張幅]|[左右首末]{_GAP}[图圖]",
    re.I,
)


def plain_blanks(text: str) -> str:
    """`text` with a space in place of every other blank character that is no line break."""
    return text.translate(_BLANKS)


def refuse_unclear_breaks(text: str) -> None:
    """Look for line breaks in `text` (tags and labels blanked) that may be inside a name.

    Raises:
        Refused: with the words.
    """
    if unclear := _UNCLEAR.search(text):
        raise Refused("unclear_name", unclear.group())


def join_lines(text: str) -> str:
    """`text` with spaces for the line breaks inside names."""
    return _WRAPPED.sub(lambda found: re.sub(r"[\r\n]", " ", found.group()), text)
