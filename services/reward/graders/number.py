r"""Plain numbers: ``1,234.5``, ``-3``, ``.5``, ``3/4``, ``\frac{3}{4}``, ``1e-3``, ``50\%``.

A percent sign is a unit that may be left out; it never divides: 50% is 50, not 0.5.
"""

import math
import re

from services.reward.graders.wrapping import unwrap

DEFAULT_TOLERANCE = 1e-9
"""Relative: room for binary rounding, while whole numbers below 10^9 are compared exactly."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(
    rf"([+-]?)\s?(?:{_DECIMAL}(?:[eE][+-]?\d{{1,3}})?|{_DIGITS}\s?/\s?{_DIGITS})", re.ASCII
)
_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", re.ASCII)
_LATEX_SEPARATORS = re.compile(r"(?<=\d)(?:\{,\}|\\[,!;]\s?|~)(?=\d{3})", re.ASCII)
# "x = " and a currency sign in front, a percent sign behind.
_AROUND = re.compile(r"^(?:[A-Za-z]\s?=\s?)?(?:\\?[$€£¥]\s?)?|\s?(?:\\?%|percent|[€£¥])$")
_MOST_CHARS = 64


def read_number(answer: str) -> float | None:
    """The number that the answer is; None when it is anything else, or too long to be one."""
    text = unwrap(answer).rstrip(".").replace("−", "-").strip()
    if len(text) > _MOST_CHARS:
        return None
    text = _LATEX_SEPARATORS.sub(",", _FRACTION.sub(r"\1/\2", text))
    text = _AROUND.sub("", text)
    if not _NUMBER.fullmatch(text):
        return None
    upper, _, lower = text.replace(",", "").replace(" ", "").partition("/")
    if lower and float(lower) == 0:
        return None
    value = float(upper) / float(lower or 1)
    return value if math.isfinite(value) else None


def same_number(gold: float, given: float, tolerance: float = DEFAULT_TOLERANCE) -> bool:
    """Whether `given` is within the relative `tolerance` of `gold`; 0 only equals itself."""
    return math.isclose(gold, given, rel_tol=tolerance, abs_tol=0.0)
