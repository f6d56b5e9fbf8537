r"""LaTeX and Unicode as data files and models write them, brought to one plain spelling.

``30${}^\circ $``, ``$30^{\circ}$`` and ``30°`` become one text, and so do ``2⁵`` and ``2^{5}``.
Only numbers and expressions are read this way; words keep their spelling.
"""

import re

from shared.grading.kinds.repeating import without_repeating
from shared.grading.kinds.siunitx import without_siunitx

# Before three digits, and not before a fraction: "1 234" is a number, "1 234/5" is not.
_GROUP = re.compile(r"(?<=\d)\s?(?:\{\s?,\s?\}|\\[,!;]\s?)(?=\d{3}(?!\d|\s?/))", re.ASCII)
_SPACED_GROUP = re.compile(r"(?<=\d)(?:\\ \s?|[~ \u202f])(?=\d{3}(?!\d|\s?/))", re.ASCII)
_DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]")
_DOLLAR = re.compile(r"(?<!\\)\$")
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\s?\{(?:cases|aligned|align\*?|gathered|split|array|equation\*?)\}"
    r"(?:\s?\{[lcr|]*\})?"
)
_MATRIX = re.compile(r"\\begin\s?\{(?:[pbvBV]?matrix|smallmatrix)\}|\\left\s?[(\[|]\s?\\begin")
_NEW_LINE = re.compile(r"\\\\(?:\s?\[[^\[\]]{0,12}\])?|\\(?:newline|par)(?![a-zA-Z])|<br\s?/?>")
# A row's end is no blank, though a space may follow it.
_ROW_END = re.compile(r"\\\\(?:\s?\[[^\[\]]{0,12}\])?\s*")
_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s?\.?")
_NO_SPACE = re.compile(r"\\!\s?")
_SPACE = re.compile(
    r"(?<!\\)\\[,;:>\s]|~|\\(?:quad|qquad|space|enspace|thinspace|thickspace|hfill)(?![a-zA-Z])"
    r"|\\[hv]space\*?\s?\{[^{}]*\}"
)
_EMPTY = re.compile(r"(?<![\\}\w])\{\s*\}|(?<=\d)\{\s*\}")
_STYLE = re.compile(
    r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|rm|bf|it|normalsize)(?![a-zA-Z])"
)
_ROMAN = re.compile(r"\{\s?\\rm(?![a-z])((?:\\\s|[^{}\\])*)\}")
_FRACTION = re.compile(r"\\[dtc]frac(?![a-z])")
# \frac12, \frac1{2} and \frac{1}2.
_BARE_FRACTIONS = (
    (re.compile(r"\\frac\s?(\d)\s?(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s?(\d)\s?(?=\{)"), r"\\frac{\1}"),
    (re.compile(r"\\frac\s?(\{(?:[^{}]|\{[^{}]*\})*\})\s?(\d)"), r"\\frac\1{\2}"),
)
_OPERATOR_NAME = re.compile(r"\\operatorname\*?\s?\{([a-zA-Z]+)\}")
_DEGREES = re.compile(
    r"\s?\^\s?(?:\{\s?(?:\\circ|\\degree|°|o)\s?\}|\\circ(?![a-z])|\\degree(?![a-z])|°|o(?!\w))"
    r"|\s?\\(?:text)?degree(?![a-z])|[º˚]"
)
_SPACED_POWER = re.compile(r"\s+(?=\^)")
_CELSIUS = re.compile(
    r"°\s?(?:\\(?:text|mathrm)\s?\{\s?([CF])\s?\}|([CF])(?![a-zA-Z])"
    r"|\\(?:text|mathrm)\s?\{\s?(Celsius|Fahrenheit)\s?\})"
)

_PRIME = re.compile(r"\s?\^\s?(?:\{\s?((?:\\prime\s?|')+)\}|\\prime(?![a-z]))")
# Prints nothing, but takes its argument's place.
_PHANTOM = re.compile(r"\\[hv]?phantom\s?\{[^{}]*\}|\\(?:text)?color\s?\{[^{}]*\}(?!\s?\{[^{}]*\})")
_COLORED = re.compile(r"\\(?:text)?color\s?\{[^{}]*\}\s?\{([^{}]*)\}")
_DENIED = (
    (re.compile(r"\\not\s?="), r"\\ne "),
    (re.compile(r"\\not\s?\\in(?![a-z])"), r"\\notin "),
)

# A dash before a number is its sign; between two it may say "to".
_DASH = re.compile(r"(?<![\w)}\]])[–—](?=\s?[\w.\\(])")

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₓ"
_PLAIN = str.maketrans(_RAISED + _LOWERED, "0123456789+-=()nix" + "0123456789+-=()nx")
_POWER = re.compile(rf"[{_RAISED}]+")
_INDEX = re.compile(rf"[{_LOWERED}]+")
_VULGAR = "½1/2 ⅓1/3 ⅔2/3 ¼1/4 ¾3/4 ⅕1/5 ⅖2/5 ⅗3/5 ⅘4/5 ⅙1/6 ⅚5/6 ⅐1/7 ⅛1/8 ⅜3/8 ⅝5/8 ⅞7/8 ⅑1/9"
_SIGNS: dict[int, str] = {ord(one[0]): rf"\frac{{{one[1]}}}{{{one[3]}}}" for one in _VULGAR.split()}
_SIGNS |= {
    **dict.fromkeys(map(ord, "−‐‑﹣"), "-"),
    **dict.fromkeys(map(ord, "⋅·∙•"), r"\cdot "),
    **dict.fromkeys(map(ord, "∶：꞉"), ":"),
    **dict.fromkeys(map(ord, "\u2009\u202f\u2005\u2006\u2002\u2003\u00a0"), " "),
    **dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u2061\u2062"), ""),
    ord("⁄"): "/",
    ord("′"): "'",
    ord("″"): "''",
}


def tidy(text: str) -> str:
    r"""The text without formulas' signs, sizes, spaces and styles; lines end with a newline.

    Powers, fractions and signs of Unicode become LaTeX, degrees become ``°``.
    """
    text = _ROMAN.sub(r"\\text{\1}", without_repeating(without_siunitx(text)))
    text = _PRIME.sub(_primes, _PHANTOM.sub(" ", _COLORED.sub(r"\1", text)))
    for denied, sign in _DENIED:
        text = denied.sub(sign, text)
    text = _SPACED_GROUP.sub(",", _GROUP.sub("", text.translate(_SIGNS)))
    text = _DASH.sub("-", text)
    if _MATRIX.search(text):
        text = _ROW_END.sub(r"\\\\ ", text)
    else:
        text = _SIZE.sub("", text)
        text = _NEW_LINE.sub("\n", _ENVIRONMENT.sub(" ", text).replace("&", " "))
    text = _DELIMITERS.sub(" ", text)
    if len(_DOLLAR.findall(text)) % 2 == 0:
        text = _DOLLAR.sub(" ", text)
    text = _SPACE.sub(" ", _NO_SPACE.sub("", text))
    text = _EMPTY.sub(" ", _STYLE.sub(" ", text))
    text = _OPERATOR_NAME.sub(r"\1", _FRACTION.sub(r"\\frac", text))
    for bare, braced in _BARE_FRACTIONS:
        text = bare.sub(braced, text)
    text = _POWER.sub(lambda match: f"^{{{match[0].translate(_PLAIN)}}}", text)
    text = _INDEX.sub(lambda match: f"_{{{match[0].translate(_PLAIN)}}}", text)
    text = _SPACED_POWER.sub("", text)
    text = _CELSIUS.sub(
        lambda match: f"°{(match[1] or match[2] or match[3])[0]}", _DEGREES.sub("°", text)
    )
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


def _primes(match: re.Match[str]) -> str:
    return "'" * max(1, (match[1] or "").count("\\prime") + (match[1] or "").count("'"))
