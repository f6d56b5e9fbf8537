r"""Numbers and quantities: ``1,234.5``, ``3/4``, ``2\frac{1}{3}``, ``1.2e3``, ``50\%``, ``12 cm``.

A percent sign is a unit and never divides: 50% is 50, not 0.5. An answer may leave out the unit of
the gold answer, or add one where the gold answer has none. A different unit is wrong unless
``units.py`` converts it.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from shared.grading.kinds.latex import tidy
from shared.grading.kinds.units import read_unit
from shared.grading.kinds.wrapping import unwrap

DEFAULT_TOLERANCE = 1e-9
"""Relative: allows for binary rounding. With it, whole numbers are compared exactly."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"
_EXPONENT = r"(?:[eE]([+-]?\d{1,3}))?"
_NUMBER = rf"([+-]?)\s?(?:({_DECIMAL}){_EXPONENT}|(?:(\d+)\s)?({_DIGITS})\s?/\s?({_DIGITS}))"
# A unit is words or signs, with powers, in a product or a quotient. It has no other digits, so
# "7 or 8" and "1 2" are not quantities.
_UNIT = (
    r"(?:[^\W\d_]|[%°$€£¥₹℃℉])"
    r"(?:[^\W\d_]|[/. %°·*]|\\cdot|\^(?:-?\d|\{\s?-?\s?\d\s?\}))*"
)
_QUANTITY = re.compile(rf"(?a:{_NUMBER})\s?({_UNIT})?")
# Units outside the table are words ("7 apples"), never symbols like x or π.
_COUNTED = re.compile(r"[a-zA-Z]{3,}(?:[ -][a-zA-Z]+)*|[\u4e00-\u9fff]+")
_NAME = re.compile(
    r"(?:[A-Za-z](?:_(?:\w|\{\w+\}))?\s?(?:=|≈|\\approx(?![a-z]))\s?)?"
    r"(?:(?:≈|\\approx(?![a-z])|(?:approximately|about|roughly|approx\.?)(?=\s))\s?)?",
    re.IGNORECASE,
)
# One number and unit of "2 hours 30 minutes", where Chinese shortens its units.
_PART = re.compile(
    r"\s?(?:(?:,|and)\s)?(\d{1,9}(?:\.\d{1,6})?)\s?([a-zA-Z]+|[\u4e00-\u9fff]{1,3})\.?", re.ASCII
)
_SHORT_UNITS = {"分": "分钟", "时": "小时"}
_CURRENCY = re.compile(r"^([+-]?)\s?(?:(?:US|[AC])?\\?(\$)|([€£¥₹]))\s?")
_FRACTION = re.compile(
    r"(?<![\d.])([+-]?\s?)(\d+)?\s?\\frac\s?(?:\{(-?)(\d+)\}\s?\{(\d+)\}|(\d)(\d))", re.ASCII
)
_TEN_TO = (
    r"(?:10|\{\s?10\s?\})\s?(?:\^|\*\*)\s?"
    r"(?:[{(]\s?([+-]?)\s?(\d{1,3})\s?[})]|([+-]?)(\d{1,3}))(?![\d.])"
)
_POWER_OF_TEN = re.compile(rf"(?<=[\d.])\s?(?:\\times|\\cdot|[×xX*])\s?{_TEN_TO}", re.ASCII)
_BARE_POWER_OF_TEN = re.compile(rf"(?<![\w.^)}}]){_TEN_TO}", re.ASCII)
_MOST_CHARS = 64
_MOST_WHOLE_DIGITS = 18
_MOST_EXPONENT = 308


@dataclass(frozen=True)
class Quantity:
    """A number and its unit, if it has one."""

    exact: Fraction
    unit: str | None = None
    decimal: bool = False
    """Whether the number is written with decimals or a power of ten, so that it may be rounded."""

    @property
    def value(self) -> float:
        return float(self.exact)

    def canonical(self) -> str:
        """The quantity in the first unit of its dimension, without a percent sign."""
        known = read_unit(self.unit) if self.unit else None
        dimension, size = known or (self.unit or "", Fraction(1))
        value = self.exact * size
        whole = value.denominator == 1 and abs(value) < 10**_MOST_WHOLE_DIGITS
        number = str(value.numerator) if whole else f"{float(value):.12g}"
        return f"{number} {dimension.removeprefix('%')}".rstrip()


def read_quantity(answer: str) -> Quantity | None:
    """The answer as a number with its unit; None when it is something else or too long."""
    text = _plain(answer)
    text = _NAME.sub("", text, count=1)
    currency = _CURRENCY.search(text)
    if len(text) > _MOST_CHARS:
        return None
    match = _QUANTITY.fullmatch(_CURRENCY.sub(r"\1", text))
    if match is None:
        return _compound(text)
    *number, unit = match.groups()
    value = _value(*number)
    decimal = bool(number[1] and ("." in number[1] or number[2]))
    unit = unit.strip() if unit else None
    if value is None or (currency and unit):
        return None
    if unit and read_unit(unit) is None and not _COUNTED.fullmatch(unit):
        return None
    return Quantity(value, currency[2] or currency[3] if currency else unit, decimal)


def _compound(text: str) -> Quantity | None:
    """ "2 hours 30 minutes" in the first of its units; None for other text.

    Every unit is of one dimension and smaller than the one before, and so is its number of them.
    """
    parts: list[tuple[Fraction, Fraction]] = []
    dimensions, place, first = set[str](), 0, ""
    while place < len(text):
        match = _PART.match(text, place)
        unit = read_unit(_SHORT_UNITS.get(match[2], match[2])) if match else None
        if match is None or unit is None:
            return None
        parts.append((Fraction(match[1]), unit[1]))
        dimensions.add(unit[0])
        first, place = first or match[2], match.end()
    pairs = pairwise(parts)
    if (
        len(parts) < 2
        or len(dimensions) > 1
        or any(
            number.denominator > 1 or other * size >= larger
            for (number, larger), (other, size) in pairs
        )
    ):
        return None
    total = sum((number * size for number, size in parts), Fraction(0)) / parts[0][1]
    return Quantity(total, _SHORT_UNITS.get(first, first), parts[-1][0].denominator > 1)


def read_number(answer: str) -> float | None:
    """The answer as a number, possibly with a percent or currency sign; None when it is something
    else."""
    quantity = read_quantity(answer)
    if quantity is None:
        return None
    bare = quantity.unit is None or quantity.unit in ("%", "percent", "$", "€", "£", "¥", "₹")
    return quantity.value if bare else None


def same_number(
    gold: float | Fraction, given: float | Fraction, tolerance: float = DEFAULT_TOLERANCE
) -> bool:
    """Whether `given` is within the relative `tolerance` of `gold`; 0 only equals itself."""
    right, said = Fraction(gold), Fraction(given)
    if tolerance <= DEFAULT_TOLERANCE and right.denominator == said.denominator == 1:
        return right == said
    return abs(right - said) <= Fraction(tolerance) * max(abs(right), abs(said))


def same_quantity(gold: Quantity, given: Quantity, tolerance: float = DEFAULT_TOLERANCE) -> bool:
    """Whether the numbers are the same in the same unit, with the rules for units at the top."""
    right = read_unit(gold.unit) if gold.unit else None
    said = read_unit(given.unit) if given.unit else None
    if given.unit is None or given.unit == gold.unit or (gold.unit is None and said is not None):
        return same_number(gold.exact, given.exact, tolerance)
    if right is None or said is None:
        counted = gold.unit is not None and _counted(gold.unit) == _counted(given.unit)
        return counted and same_number(gold.exact, given.exact, tolerance)
    if right[0] != said[0]:
        return False
    return same_number(gold.exact * right[1], given.exact * said[1], tolerance)


def _counted(unit: str) -> str:
    """The name of what is counted: "apples" and "Apple" are the same."""
    return " ".join(unit.split()).casefold().removesuffix("s")


def _plain(answer: str) -> str:
    """The answer with its LaTeX separators, spaces, fractions and powers of ten as plain text."""
    text = unwrap(tidy(unwrap(answer)[: 8 * _MOST_CHARS])).rstrip(".").strip()
    text = tidy(text).replace("\\%", "%")
    text = _POWER_OF_TEN.sub(lambda power: f"e{_exponent(power)}", text)
    text = _BARE_POWER_OF_TEN.sub(lambda power: f"1e{_exponent(power)}", text)
    text = _FRACTION.sub(_spelled_fraction, text)
    return " ".join(text.split())


def _exponent(match: re.Match[str]) -> str:
    return "".join(part or "" for part in match.groups())


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
) -> Fraction | None:
    if decimal:
        power = int(exponent or 0)
        if abs(power) > _MOST_EXPONENT:
            return None
        value = Fraction(decimal.replace(",", "").rstrip(".") or "0") * Fraction(10) ** power
    else:
        parts = [Fraction((part or "0").replace(",", "")) for part in (whole, upper, lower)]
        # Only a proper fraction follows a whole number: "2 3/1" is not 5.
        if parts[2] == 0 or (whole and parts[1] >= parts[2]):
            return None
        value = parts[0] + parts[1] / parts[2]
    finite = value < Fraction(10) ** _MOST_EXPONENT
    return (-value if sign == "-" else value) if finite else None
