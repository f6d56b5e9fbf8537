"""Units of quantities, and the exact factors between those that convert into each other.

Temperatures (which have an offset), degrees and radians (π is not exact) and currencies do not
convert: these units equal only themselves.
"""

import re

# For each dimension: the spellings of each unit, and its size in the dimension's first unit.
_TABLE: dict[str, dict[str, float]] = {
    "m": {
        "m|meter|meters|metre|metres|米": 1.0,
        "mm|millimeter|millimeters|millimetre|millimetres|毫米": 0.001,
        "cm|centimeter|centimeters|centimetre|centimetres|厘米": 0.01,
        "dm|decimeter|decimeters|decimetre|decimetres|分米": 0.1,
        "km|kilometer|kilometers|kilometre|kilometres|千米|公里": 1000.0,
        "in|inch|inches": 0.0254,
        "ft|foot|feet": 0.3048,
        "yd|yard|yards": 0.9144,
        "mi|mile|miles": 1609.344,
    },
    "g": {
        "g|gram|grams|克": 1.0,
        "mg|milligram|milligrams|毫克": 0.001,
        "kg|kilogram|kilograms|千克|公斤": 1000.0,
        "lb|lbs|pound|pounds": 453.59237,
        "oz|ounce|ounces": 28.349523125,
    },
    "s": {
        "s|sec|secs|second|seconds|秒": 1.0,
        "ms|millisecond|milliseconds|毫秒": 0.001,
        "min|mins|minute|minutes|分钟": 60.0,
        "h|hr|hrs|hour|hours|小时": 3600.0,
        "day|days|天": 86400.0,
        "week|weeks|周": 604800.0,
    },
    "N": {"N|newton|newtons|牛": 1.0},
    "J": {"J|joule|joules|焦": 1.0, "kJ|kilojoule|kilojoules": 1000.0},
    "W": {"W|watt|watts|瓦": 1.0, "kW|kilowatt|kilowatts": 1000.0},
    "V": {"V|volt|volts|伏": 1.0},
    "A": {"A|ampere|amperes|安": 1.0},
    "Ω": {"Ω|ohm|ohms|欧": 1.0},
    "Pa": {"Pa|pascal|pascals|帕": 1.0, "kPa": 1000.0},
    "Hz": {"Hz|hertz|赫兹": 1.0, "kHz": 1000.0},
    "mol": {"mol|mole|moles|摩尔": 1.0},
    "m^3": {
        "l|L|liter|liters|litre|litres|升": 0.001,
        "ml|mL|milliliter|milliliters|millilitre|millilitres|毫升": 0.000001,
    },
    "m/s": {"m/s|米/秒": 1.0, "km/h|千米/小时": 1 / 3.6, "mph": 0.44704},
    "m/s^2": {"m/s^2|m/s²": 1.0},
    "kg/m^3": {"kg/m^3|kg/m³": 1.0, "g/cm^3|g/cm³": 1000.0},
    "°": {"°|degree|degrees|deg|度": 1.0},
    "rad": {"rad|radian|radians|弧度": 1.0},
    "°C": {"°C|℃|摄氏度": 1.0},
    "°F": {"°F|℉": 1.0},
    "K": {"K|kelvin": 1.0},
    "%": {"%|percent|per cent": 1.0},
    "$": {"$|dollar|dollars|USD|美元": 1.0, "cent|cents|¢": 0.01},
    "€": {"€|euro|euros|EUR": 1.0},
    "£": {"£|GBP": 1.0},
    "¥": {"¥|yuan|元|RMB|CNY": 1.0},
    "units": {"unit|units|square unit|square units|cubic units|单位|个": 1.0},
}
_KNOWN = {
    spelling: (dimension, size)
    for dimension, units in _TABLE.items()
    for spellings, size in units.items()
    for spelling in spellings.split("|")
}
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3}
_BEFORE = re.compile(r"(square|sq\.?|cubic|cu|平方|立方)\s?(.+)")
_AFTER = re.compile(r"(.+?)\s?(?:\^\s?\{?([23])\}?|([²³]))")


def read_unit(text: str) -> tuple[str, float] | None:
    """The dimension of a unit and its size in the dimension's first unit; None for an unknown unit.

    Squares and cubes of lengths are separate dimensions: ``m^2``, ``m^3``.
    """
    unit = text.strip().rstrip(".").replace("{", "").replace("}", "")
    if unit in _KNOWN:
        return _KNOWN[unit]
    before, after = _BEFORE.fullmatch(unit), _AFTER.fullmatch(unit)
    power = 1
    if before is not None:
        power, unit = _POWERS[before[1]], before[2]
    elif after is not None:
        power, unit = int(after[2] or "  ²³".index(after[3])), after[1]
    # Single letters keep their case: M is not a metre.
    known = _KNOWN.get(unit) or (_KNOWN.get(unit.lower()) if len(unit) > 1 else None)
    if known is None or power == 1:
        return known
    return (f"m^{power}", known[1] ** power) if known[0] == "m" else None
