r"""Numbers and quantities: ``1,234.5``, ``3/4``, ``2\frac{1}{3}``, ``1.2e3``, ``50\%``, ``12 cm``.

A percent sign is a unit and never divides: 50% is 50, not 0.5. An answer may leave out the unit of
the gold answer, or add one where the gold answer has none. A different unit is wrong unless
``units.py`` converts it.
"""

import math
import re
from dataclasses import dataclass

from shared.grading.kinds.units import read_unit
from shared.grading.kinds.wrapping import unwrap

DEFAULT_TOLERANCE = 1e-9
"""Relative: allows for binary rounding. With it, whole numbers are compared exactly."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"
_EXPONENT = r"(?:[eE]([+-]?\d{1,3}))?"
_NUMBER = rf"([+-]?)\s?(?:({_DECIMAL}){_EXPONENT}|(?:(\d+)\s)?({_DIGITS})\s?/\s?({_DIGITS}))"
# A unit is a word or a sign, with a power or a quotient. It has no other digits, so "7 or 8" and
# "1 2" are not quantities.
_UNIT = r"(?:[^\W\d_]|[%°$€£¥℃℉])(?:[^\W\d_]|[/. %°])*(?:\^\s?\{?[23]\}?|[²³])?"
_QUANTITY = re.compile(rf"(?a:{_NUMBER})\s?({_UNIT})?")
# Units outside the table are words ("7 apples"), never symbols like x or π.
_COUNTED = re.compile(r"[a-zA-Z]{3,}(?:[ -][a-zA-Z]+)*|[\u4e00-\u9fff]+")
_NAME = re.compile(
    r"^[A-Za-z]\s?=\s?|^(?:≈|\\approx(?![a-z])|(?:approximately|about|roughly)(?=\s))\s?",
    re.IGNORECASE,
)
_CURRENCY = re.compile(r"^([+-]?)\s?\\?([$€£¥])\s?")
_LATEX_SEPARATORS = re.compile(
    r"(?<=\d)(?:\{,\}|\\[,!; ]\s?|[~ \u202f])(?=\d{3}(?!\d|\s?/))", re.ASCII
)
_LATEX_SPACES = re.compile(r"\\[,;:!\s]|~")
_DEGREES = re.compile(r"\s?\^\s?\{?\s?\\circ\s?\}?")
_FRACTION = re.compile(
    r"(?<![\d.])([+-]?\s?)(\d+)?\s?\\[dt]?frac\s?(?:\{(-?)(\d+)\}\s?\{(\d+)\}|(\d)(\d))", re.ASCII
)
_POWER_OF_TEN = re.compile(
    r"\s?(?:\\times|\\cdot|[×xX*])\s?10\s?\^\s?(?:\{([+-]?\d{1,3})\}|([+-]?\d{1,3}))", re.ASCII
)
_BARE_POWER_OF_TEN = re.compile(
    r"(?<![\w.^)}])10\s?\^\s?(?:\{([+-]?\d{1,3})\}|([+-]?\d{1,3}))", re.ASCII
)
_MOST_CHARS = 64


@dataclass(frozen=True)
class Quantity:
    """A number and its unit, if it has one."""

    value: float
    unit: str | None = None

    def canonical(self) -> str:
        """The quantity in the first unit of its dimension, without a percent sign."""
        known = read_unit(self.unit) if self.unit else None
        dimension, size = known or (self.unit or "", 1.0)
        return f"{self.value * size:.12g} {dimension.removeprefix('%')}".rstrip()


def read_quantity(answer: str) -> Quantity | None:
    """The answer as a number with its unit; None when it is something else or too long."""
    text = _plain(answer)
    text = _NAME.sub("", text)
    currency = _CURRENCY.search(text)
    match = _QUANTITY.fullmatch(_CURRENCY.sub(r"\1", text))
    if match is None or len(text) > _MOST_CHARS:
        return None
    *number, unit = match.groups()
    value = _value(*number)
    unit = unit.strip() if unit else None
    if value is None or (currency and unit):
        return None
    if unit and read_unit(unit) is None and not _COUNTED.fullmatch(unit):
        return None
    return Quantity(value, currency[2] if currency else unit)


def read_number(answer: str) -> float | None:
    """The answer as a number, possibly with a percent or currency sign; None when it is something
    else."""
    quantity = read_quantity(answer)
    if quantity is None:
        return None
    bare = quantity.unit is None or quantity.unit in ("%", "percent", "$", "€", "£", "¥")
    return quantity.value if bare else None


def same_number(gold: float, given: float, tolerance: float = DEFAULT_TOLERANCE) -> bool:
    """Whether `given` is within the relative `tolerance` of `gold`; 0 only equals itself."""
    if tolerance <= DEFAULT_TOLERANCE and gold.is_integer() and given.is_integer():
        return gold == given
    return math.isclose(gold, given, rel_tol=tolerance, abs_tol=0.0)


def same_quantity(gold: Quantity, given: Quantity, tolerance: float = DEFAULT_TOLERANCE) -> bool:
    """Whether the numbers are the same in the same unit, with the rules for units at the top."""
    right = read_unit(gold.unit) if gold.unit else None
    said = read_unit(given.unit) if given.unit else None
    if given.unit is None or given.unit == gold.unit or (gold.unit is None and said is not None):
        return same_number(gold.value, given.value, tolerance)
    if right is None or said is None or right[0] != said[0]:
        return False
    return same_number(gold.value * right[1], given.value * said[1], tolerance)


def without_separators(text: str) -> str:
    r"""The text with commas between thousands, in place of a space, ``\,``, ``~`` or ``{,}``."""
    return _LATEX_SEPARATORS.sub(",", text)


def _plain(answer: str) -> str:
    """The answer with its LaTeX separators, spaces, fractions and powers of ten as plain text."""
    text = unwrap(answer).rstrip(".").strip()[: 4 * _MOST_CHARS]
    text = without_separators(text)
    text = _DEGREES.sub("°", _LATEX_SPACES.sub(" ", text)).replace("\\%", "%")
    text = _POWER_OF_TEN.sub(lambda power: f"e{power[1] or power[2]}", text)
    text = _BARE_POWER_OF_TEN.sub(lambda power: f"1e{power[1] or power[2]}", text)
    text = _FRACTION.sub(_spelled_fraction, text)
    return " ".join(text.split())


def _spelled_fraction(match: re.Match[str]) -> str:
    sign, whole, minus, upper, lower, upper_digit, lower_digit = match.groups()
    front = f"{sign}{minus or ''}" + (f"{whole} " if whole else "")
    return f"{front}{upper or upper_digit}/{lower or lower_digit}"


def _value(
    sign: str,
    decimal: str | None,
    exponent: str | None,
    whole: str | None,
    upper: str | None,
    lower: str | None,
) -> float | None:
    if decimal:
        value = float(f"{decimal.replace(',', '')}e{exponent or 0}")
    else:
        parts = [float((part or "0").replace(",", "")) for part in (whole, upper, lower)]
        if parts[2] == 0:
            return None
        value = parts[0] + parts[1] / parts[2]
    return (-value if sign == "-" else value) if math.isfinite(value) else None
