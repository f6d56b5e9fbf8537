"""Words after a number: they name what is counted ("5 students"), or change the number.

"3 dozens" is 36, "3 sevenths" a fraction, "3 wrong" no answer. A list of all words that change a
number has no end, so a word counts only when its form says so: plurals, the nouns without one, and
the words that go with a count ("5 left"). After one or less, any noun that is not in `_CHANGING`.
"""

import re
from fractions import Fraction

from shared.grading.kinds.units import read_unit

_WORDS = re.compile(r"[a-zA-Z]+(?:[ -][a-zA-Z]+){0,2}")
_CARDINAL = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    "|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
    "|hundred|thousand|[a-z]*illion|[a-z]*illiard|dozen|score|gross|lakh|crore|myriad|googol"
    "|double|triple|quadruple"
)
# "second" is a unit of time.
_ORDINAL = (
    r"first|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|[a-z]+teenth"
    r"|[a-z]+tieth|hundredth|thousandth|[a-z]*illionth|nth|quarter|half|halve"
)
# Words that change the number before them, wherever they stand.
_CHANGING = re.compile(
    rf"(?:{_CARDINAL}|{_ORDINAL})s?|doubled|tripled|halved|squared|cubed|twice|thrice|pi|tau|point|over"
    r"|plus|minus|or|and|not|nor|is|was|be|to|of|by|per|as|than|less|more|fewer|larger|smaller|bigger"
    r"|greater|higher|lower|least|most|below|above|under|beyond|beneath|negative|positive|infinity"
    r"|infinite|factorial|mod|modulo|alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda"
    r"|mu|nu|xi|rho|sigma|phi|chi|psi|omega|sqrt|cbrt|root|roots|sin|cos|tan|sec|csc|cot|log|exp|ln"
    r"|times [a-z ]+"
)
# Words that say whether an answer holds.
_JUDGING = re.compile(
    r"wrong|incorrect|false|true|correct|right|none|never|no|nothing|neither|nobody|impossible"
    r"|possible|cannot|cant|unlikely|likely|undefined|unknown|invalid|maybe|perhaps|always|unless"
    r"|unsure|rejected|excluded"
)
_PLURAL = re.compile(r"[a-z]+[^su\W]s")
_SINGULAR_IN_S = re.compile(r"this|his|its|axis|basis|analysis|thesis|yes|sometimes")
_NO_PLURAL = re.compile(
    r"people|men|women|children|feet|teeth|mice|geese|oxen|sheep|fish|deer|dice|pence|vertices|data"
    r"|aircraft|species|series|staff|offspring|radii|foci|maxima|minima|loci|bacteria|criteria|media"
    r"|crew|cattle|police|folk|cacti|fungi|nuclei|yen|won|baht|rand|peso|franc|celsius|fahrenheit"
    r"|kcal|cal|rpm|bpm|fps|mph|kph|dpi|ppm|psi|bar|atm|bit|byte|kbps|mbps|px|pts|gal|tsp|tbsp"
    r"|horsepower|hp|year|month|acre|hectare|mark|cup"
)
_AFTER_COUNT = re.compile(
    r"total|altogether|left|remaining|only|exactly|overall|each|apiece|long|wide|tall|high|deep|old"
    r"|away|short|together|combined"
)
# A Chinese measure word may be followed by what is counted, but not by a number.
_CHINESE = re.compile(
    r"(?:[个只条张本人次种倍名位岁年月棵辆件块支枝朵双头匹根颗粒座间层台架艘把杯瓶盒箱袋包组队班页行列段"
    r"排道题步门所家份篇首幅副套盘碗片]|小朋友|同学|学生)[^半分零一二两三四五六七八九十百千万亿多余]*"
)


def counts(words: str, number: Fraction) -> bool:
    """Whether the words after a number name what is counted and leave the number as it is."""
    if _CHINESE.fullmatch(words):
        return True
    said = words.lower()
    parts = re.split(r"[ -]", said)
    if _WORDS.fullmatch(words) is None or any(map(_CHANGING.fullmatch, (said, *parts))):
        return False
    if _JUDGING.fullmatch(parts[-1]):
        return False
    return abs(number) <= 1 or words.isupper() or any(map(_names_several, parts))


def _names_several(word: str) -> bool:
    if _NO_PLURAL.fullmatch(word) or _AFTER_COUNT.fullmatch(word):
        return True
    if len(word) > 1 and read_unit(word):
        return True
    return bool(_PLURAL.fullmatch(word) and not _SINGULAR_IN_S.fullmatch(word))
