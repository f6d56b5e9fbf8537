r"""Units of quantities, and the exact factors between those that convert into each other.

A unit is a name of the table or a product of them: ``km/h``, ``kg·m/s^2``, ``m s^{-1}``, "square
centimeters". Temperatures (which have an offset), degrees and radians (π is not exact) and
currencies do not convert: these units equal only themselves.
"""

import re
from fractions import Fraction
from functools import lru_cache

# For each dimension: the spellings of each unit, and its size in the dimension's first unit.
_TABLE: dict[str, dict[str, str]] = {
    "m": {
        "m|meter|meters|metre|metres|米": "1",
        "nm|nanometer|nanometers|nanometre|nanometres": "1e-9",
        "μm|micrometer|micrometers|micrometre|micrometres|微米": "1e-6",
        "mm|millimeter|millimeters|millimetre|millimetres|毫米": "1e-3",
        "cm|centimeter|centimeters|centimetre|centimetres|厘米": "1e-2",
        "dm|decimeter|decimeters|decimetre|decimetres|分米": "1e-1",
        "km|kilometer|kilometers|kilometre|kilometres|千米|公里": "1e3",
        "in|inch|inches|英寸": "0.0254",
        "ft|foot|feet|英尺": "0.3048",
        "yd|yds|yard|yards": "0.9144",
        "mi|mile|miles|英里": "1609.344",
    },
    "g": {
        "g|gram|grams|gramme|grammes|克": "1",
        "mg|milligram|milligrams|毫克": "1e-3",
        "kg|kilogram|kilograms|千克|公斤": "1e3",
        "t|ton|tons|tonne|tonnes|吨": "1e6",
        "lb|lbs|pound|pounds|磅": "453.59237",
        "oz|ounce|ounces": "28.349523125",
    },
    "s": {
        "s|sec|secs|second|seconds|秒": "1",
        "ms|millisecond|milliseconds|毫秒": "1e-3",
        "min|mins|minute|minutes|分钟": "60",
        "h|hr|hrs|hour|hours|小时": "3600",
        "day|days|天": "86400",
        "week|weeks|周": "604800",
    },
    "A": {"A|amp|amps|ampere|amperes|安": "1", "mA|milliampere|milliamperes": "1e-3"},
    "K": {"K|kelvin|kelvins": "1"},
    "mol": {"mol|mole|moles|摩尔": "1"},
    "N": {"N|newton|newtons|牛|牛顿": "1", "kN|kilonewton|kilonewtons": "1e3"},
    "J": {"J|joule|joules|焦|焦耳": "1", "kJ|kilojoule|kilojoules": "1e3", "MJ": "1e6"},
    "W": {"W|watt|watts|瓦": "1", "kW|kilowatt|kilowatts": "1e3", "MW": "1e6"},
    "C": {"C|coulomb|coulombs|库仑": "1"},
    "V": {"V|volt|volts|伏": "1", "kV|kilovolt|kilovolts": "1e3", "mV": "1e-3"},
    "Ω": {"Ω|ohm|ohms|欧": "1", "kΩ": "1e3"},
    "Pa": {"Pa|pascal|pascals|帕": "1", "kPa": "1e3", "MPa": "1e6"},
    "Hz": {"Hz|hertz|赫兹": "1", "kHz": "1e3", "MHz": "1e6"},
    "m^3": {
        "l|L|liter|liters|litre|litres|升": "1e-3",
        "ml|mL|milliliter|milliliters|millilitre|millilitres|毫升": "1e-6",
        "cc": "1e-6",
    },
    "m/s": {"m/s|米/秒": "1", "km/h|kmh|kmph|千米/小时": "5/18", "mph": "0.44704"},
    "m/s^2": {"m/s^2": "1"},
    "kg/m^3": {"kg/m^3": "1", "g/cm^3": "1000"},
    "°": {"°|degree|degrees|deg|度": "1"},
    "rad": {"rad|radian|radians|弧度": "1"},
    "°C": {"°C|℃|摄氏度|degrees Celsius|degree Celsius": "1"},
    "°F": {"°F|℉|degrees Fahrenheit|degree Fahrenheit": "1"},
    "%": {"%|percent|per cent|percentage": "1"},
    "$": {"$|dollar|dollars|USD|美元": "1", "cent|cents|¢": "0.01"},
    "€": {"€|euro|euros|EUR": "1"},
    "£": {"£|GBP": "1"},
    "¥": {"¥|yuan|元|RMB|CNY": "1"},
    "₹": {"₹|rupee|rupees|INR": "1"},
    "units": {"unit|units|单位|个": "1"},
}
# What the dimensions with a name of their own are made of; the others are independent.
_MADE_OF: dict[str, tuple[dict[str, int], str]] = {
    "N": ({"g": 1, "m": 1, "s": -2}, "1000"),
    "J": ({"g": 1, "m": 2, "s": -2}, "1000"),
    "W": ({"g": 1, "m": 2, "s": -3}, "1000"),
    "C": ({"A": 1, "s": 1}, "1"),
    "V": ({"g": 1, "m": 2, "s": -3, "A": -1}, "1000"),
    "Ω": ({"g": 1, "m": 2, "s": -3, "A": -2}, "1000"),
    "Pa": ({"g": 1, "m": -1, "s": -2}, "1000"),
    "Hz": ({"s": -1}, "1"),
    "m^3": ({"m": 3}, "1"),
    "m/s": ({"m": 1, "s": -1}, "1"),
    "m/s^2": ({"m": 1, "s": -2}, "1"),
    "kg/m^3": ({"g": 1, "m": -3}, "1000"),
}
_KNOWN = {
    spelling: (dimension, Fraction(size))
    for dimension, units in _TABLE.items()
    for spellings, size in units.items()
    for spelling in spellings.split("|")
}
# Units that never stand for a square or a quotient of themselves.
_WHOLE = ("°", "°C", "°F", "%", "$", "€", "£", "¥", "₹")
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3, "cu.": 3, "平方": 2, "立方": 3}
_BEFORE = re.compile(r"(square|sq\.?|cubic|cu\.?|平方|立方)\s?(.+)")
_WORD_AFTER = {"squared": "^2", "cubed": "^3"}
_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_SUPERSCRIPT = re.compile(r"[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_FACTOR = re.compile(r"(°[CF]|[^\W\d_]+|[°%$€£¥₹℃℉])(?:\^(-?\d))?")
_OPERATOR = re.compile(r"\s*(?:(/|\bper\b)|[·⋅*.])\s*|\s+")
_MOST_CHARS = 48

_Powers = dict[str, int]


@lru_cache(maxsize=4096)
def read_unit(text: str) -> tuple[str, Fraction] | None:
    """The dimension of a unit and its size in the dimension's first unit; None for an unknown unit.

    Squares and cubes of lengths are separate dimensions: ``m^2``, ``m^3``.
    """
    unit = _plain(text)
    if len(unit) > _MOST_CHARS:
        return None
    known = _KNOWN.get(unit) or _any_case(unit)
    if known is not None:
        return known
    product = _product(unit)
    return None if product is None else _named(*product)


def _plain(text: str) -> str:
    unit = text.strip().rstrip(".").replace("{", "").replace("}", "").replace("\u00b5", "μ")
    unit = unit.replace("\\cdot", "·").replace("\\mu", "μ").replace("\\Omega", "Ω")
    unit = _SUPERSCRIPT.sub(lambda power: "^" + power[0].translate(_SUPERSCRIPTS), unit)
    return re.sub(r"\s?\^\s?", "^", " ".join(unit.split()))


def _any_case(unit: str) -> tuple[str, Fraction] | None:
    """A unit that is spelled with capitals; single letters keep their case, as M is not m."""
    return _KNOWN.get(unit.lower()) if len(unit) > 1 and unit.isalpha() else None


def _product(unit: str) -> tuple[_Powers, Fraction] | None:
    """Powers of the independent dimensions and the size of a product of known units."""
    before = _BEFORE.fullmatch(unit)
    if before is not None:
        area = _factor(before[2], _POWERS[before[1]])
        return area if area and set(area[0]) <= {"m", "units"} else None
    for word, raised in _WORD_AFTER.items():
        unit = unit.replace(f" {word}", raised)
    powers, size, sign = dict[str, int](), Fraction(1), 1
    place = 0
    while place < len(unit):
        match = _FACTOR.match(unit, place)
        if match is None:
            return None
        factor = _factor(match[1], sign * int(match[2] or 1))
        if factor is None:
            return None
        for dimension, power in factor[0].items():
            powers[dimension] = powers.get(dimension, 0) + power
        size *= factor[1]
        operator = _OPERATOR.match(unit, match.end())
        place = match.end() if operator is None else operator.end()
        if operator is None and place < len(unit):
            return None
        sign = -1 if operator is not None and operator[1] else 1
    return powers, size


def _factor(name: str, power: int) -> tuple[_Powers, Fraction] | None:
    known = _KNOWN.get(name) or _any_case(name)
    if known is None or (known[0] in _WHOLE and power not in (1, -1)):
        return None
    parts, unit_size = _MADE_OF.get(known[0], ({known[0]: 1}, "1"))
    size = (known[1] * Fraction(unit_size)) ** power
    return {dimension: part * power for dimension, part in parts.items()}, size


def _named(powers: _Powers, size: Fraction) -> tuple[str, Fraction] | None:
    """The dimension's name, and the size in its first unit."""
    powers = {dimension: power for dimension, power in powers.items() if power}
    for name, (parts, unit_size) in _MADE_OF.items():
        if parts == powers:
            return name, size / Fraction(unit_size)
    if not powers:
        return None
    if set(powers) == {"units"}:
        return "units", size
    ordered = sorted(powers.items(), key=lambda one: (one[1] < 0, one[0]))
    return "·".join(name if power == 1 else f"{name}^{power}" for name, power in ordered), size
