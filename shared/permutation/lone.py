"""Words that may name an image without a noun, alone in an option or an answer: "top", "II", "乙".

The same words are directions, numbers and people. What the question asks for decides, and in
doubt they name an image.
"""

import re
from collections.abc import Iterable

from shared.permutation.english import CORE, LOOSE, ORDINAL
from shared.permutation.names import CARDINALS, Names
from shared.permutation.names import CHINESE as NUMERALS

_PLACE = (
    r"(?:former|latter|top|bottom|upper|lower|middle|cent(?:er|re|ral)|above|below|left|right"
    r"|next|previous|preceding|following|other|earlier|later|front|rear)(?:most)?"
)
_NOUN = rf"(?:ones?|{CORE}|{LOOSE})"
_WORD = re.compile(
    rf"(?:(?:on|at|in|to)[ \t]+)?(?:the[ \t]+)?(?:{_PLACE})(?:[ \t-](?:left|right))?"
    r"(?:[ \t-]?hand)?"
    rf"(?P<one>[ \t]+{_NOUN})?(?:[ \t]+side)?[ \t]*\.?"
    r"|the[ \t]+one[ \t]+(?P<one3>above|below|(?:on|at|to|in)[ \t]+the[ \t]+\w+)[ \t]*\.?"
    r"|(?:在)?[左右上下前后後](?P<of>[边邊侧側面方一])?(?P<one2>那?[张張幅]|的|图)?[。.]?",
    re.I,
)
_FORMER = re.compile(
    rf"(?:the[ \t]+)?(?:former|latter)(?:[ \t]+{_NOUN})?[ \t]*\.?|[前后後]者", re.I
)
# A place of something inside an image, or the direction of something.
_OF_A_THING = re.compile(
    r"\b(?:mov\w+|turn\w*|rotat\w*|fac(?:e|es|ed|ing)|looking"
    r"|looks?[ \t]+(?:to|at|left|right|up|down|toward\w*)|points?[ \t]+(?:to|at|left)|pointing"
    r"|directions?|camera|way|hands?|eyes?|foot|feet|legs?|arms?|ears?|shoulders?|cheeks?|wings?"
    r"|lanes?|knees?|lean\w*|tilt\w*|driv\w+|go(?:es|ing)?|relative[ \t]+to|respect[ \t]+to"
    r"|parts?|half|halves|corners?|rows?|shelf|shelves|floors?|edges?|areas?|regions?|sections?"
    r"|in[ \t]+both|sides?[ \t]+of|positions?[ \t]+of|drawers?|buttons?)\b"
    r"|[朝向]|方向|手|眼|移动|转",
    re.I,
)
_ASKS = re.compile(r"\bwhere\b|\bwhich\b|\bwhose\b|哪|何处|谁", re.I)
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
_STEMS = "甲乙丙丁戊己庚辛壬癸"
_STEM = re.compile(rf"(?P<stem>[{_STEMS}])[图号]?[。.]?")
_TOKEN = (
    rf"(?:\d{{1,2}}|[ivx]{{1,4}}|{'|'.join(CARDINALS)}|[①-⑩]|[一二三四五六七八九十]|[{_STEMS}]"
    r"|(?<=[(（\[])[a-h](?=[)）\]]))"
)
_TOKEN = rf"(?<![A-Za-z\d]){_TOKEN}(?![A-Za-z\d])"
_ONE = (
    rf"(?:(?:numbers?|no\.?|only|both|仅|只有)[ \t]*)?[#(（\[]?(?P<token>{_TOKEN})[)）\]]?"
    r"(?:号|[ \t]*only)?"
)
_NAMELESS = re.sub(r"\?P<token>", "?:", _ONE)
_JOIN = r"[ \t]*(?:,[ \t]*(?:and|or)?|、|，|;|&|/|\+|\b(?:and|or|with|vs\.?)\b|[和与及跟同])?[ \t]*"
_LIST = re.compile(rf"[ \t]*{_NAMELESS}(?:{_JOIN}{_NAMELESS})*[ \t]*[.。]?[ \t]*", re.I)
_ONES = re.compile(_ONE, re.I)
# Two images of several are asked for: "Which two are alike?"
_QUANTITY = re.compile(
    r"\b(?:numbers?|numerals?|digits?|values?|roots?|solutions?|scores?|coordinates?|results?"
    r"|how[ \t]+(?:many|much)|sums?|totals?|factors?|remainders?|lengths?|x|y)\b"
    r"|多少|几|数|根|解|值",
    re.I,
)


def names_a_place(words: str, question: str) -> bool:
    """Whether `words` is only a place ("Top", "left one") and `question` may ask for an image."""
    if _FORMER.fullmatch(words):
        return True
    if stem := _STEM.fullmatch(words):
        return stem["stem"] not in question  # The question names people or shapes so.
    match = _WORD.fullmatch(words)
    if match is None:
        return False
    if match["one"] or match["one2"] or match["one3"]:
        return True
    return _ASKS.search(question) is not None and _OF_A_THING.search(question) is None


def values_in(words: str) -> list[int]:
    """The values of a list of names without a noun: "1 and 2", "I、III", "甲和乙"."""
    if _LIST.fullmatch(words) is None:
        return []
    return [_value(one["token"]) for one in _ONES.finditer(words)]


def _value(token: str) -> int:
    word = token.lower()
    if word.isdecimal():
        return int(word)
    for words in (
        _ROMAN,
        CARDINALS,
        NUMERALS,
        tuple("①②③④⑤⑥⑦⑧⑨⑩"),
        tuple(_STEMS),
        tuple("abcdefgh"),
    ):
        if word in words:
            return words.index(word) + 1
    return 0


def are_slots(values: Iterable[int], names: Names) -> bool:
    """Whether each value is the number of an image, and these images move."""
    slots = {names.slots["number"].get(value) for value in values}
    found = {slot for slot in slots if slot is not None}
    return bool(found) and len(found) == len(slots) and bool(found & names.movable)


def quantity_asked(question: str) -> bool:
    """Whether numbers are what `question` asks for."""
    return _QUANTITY.search(question) is not None


def numbers_parts(question: str, words: str) -> bool:
    """Whether `question` uses the signs of `words` itself, for statements or people."""
    signs = [one["token"] for one in _ONES.finditer(words)]
    return bool(signs) and all(
        re.search(rf"(?<!\w){re.escape(sign)}(?:[)）\].:：、])", question)
        or (sign in _STEMS and sign in question)
        or (sign in "①②③④⑤⑥⑦⑧⑨⑩" and sign in question)
        for sign in signs
    )


PLACE_OF_ONE = re.compile(
    rf"\bthe[ \t]+(?:{_PLACE.replace('|left|right', '').replace('|front|rear', '')}|{ORDINAL})"
    r"[ \t]+ones?\b",
    re.I,
)
