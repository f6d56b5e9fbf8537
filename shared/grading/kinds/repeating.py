r"""Repeating decimals as fractions: ``0.1\overline{6}``, ``0.\dot{3}``, ``0.333...``."""

import re
from fractions import Fraction

_OVER = re.compile(r"((?:\d[\u0304\u0305])+)")
_DOTTED = re.compile(r"(\d)\u0307")
_DOT = r"\\dot\s?(?:\{\s?(\d)\s?\}|(\d))"
_REPEATING = re.compile(
    r"(?<![\w.,])(\d{1,12})\.(\d{0,12})\s?"
    rf"(?:\\(?:overline|bar)\s?(?:\{{\s?(\d{{1,12}})\s?\}}|(\d))|{_DOT}(?:(\d{{0,12}}){_DOT})?)",
    re.ASCII,
)
# Three times a digit, or twice two or more of them.
_GOES_ON = re.compile(
    r"(?<![\w.,])(\d{1,12})\.(\d{0,12}?)(?:(\d)\3{2,12}|(\d{2,6})\4{1,6})\s?"
    r"(?:\.{3,}|…|\\(?:[lc]?dots)(?![a-z]))$",
    re.ASCII,
)


def without_repeating(text: str) -> str:
    r"""The text with every repeating decimal as ``\frac{1}{6}``, or as a whole number."""
    text = _DOTTED.sub(r"\\dot{\1}", _OVER.sub(_line_over, text))
    return _GOES_ON.sub(_fraction, _REPEATING.sub(_fraction, text))


def _line_over(match: re.Match[str]) -> str:
    return rf"\overline{{{match[1][::2]}}}"


def _fraction(match: re.Match[str]) -> str:
    whole, once, *repeated = match.groups()
    again = "".join(part or "" for part in repeated)
    # x = 0.1666...: 100 x - 10 x = 16 - 1.
    upper = int(whole + once + again) - int(whole + once)
    value = Fraction(upper, 10 ** len(once + again) - 10 ** len(once))
    if value.denominator == 1:
        return str(value.numerator)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
