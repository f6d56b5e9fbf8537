r"""Numbers and units inside mathematical answers: ``3 m``, ``2\sqrt{3}\text{ cm}``, "20 students".

A single letter may be a variable. It is a unit in ``\text{..}``, when both answers have a unit, and
when it is one of the letters that stand after numbers far more often as units than as variables.
"""

import re
from fractions import Fraction

from shared.grading.kinds.counted import counts
from shared.grading.kinds.number import Quantity, read_quantity
from shared.grading.kinds.units import read_unit
from shared.grading.kinds.wrapping import unwrap

_UNIT_LETTERS = ("m", "g", "s", "L")
_NAMED = re.compile(r"\s*([A-Za-z](?:_\{?\w\}?)?)\s*(?:=|≈|\\approx)")
_IN_COMMAND = r"\\(?:text|mathrm|mbox|hbox|textrm|textnormal)\s?\{\s*([^{}\\]{1,24})\}"
_POWER = r"(?:\s?\^\s?(?:\{\s?-?\d\s?\}|\d)|[²³])?"
_COMMANDS = re.compile(
    rf"(?<=[\w)}}\]°])\s*({_IN_COMMAND}{_POWER}(?:\s?(?:(?:/|·|\\cdot)\s?)?{_IN_COMMAND}{_POWER})*)$"
)
_BARE = re.compile(
    r"(?<=[\w)}\]°])(?:\s((?:square\s|cubic\s|sq\.?\s)?[a-zA-ZμΩ]{1,16}(?:/[a-zA-Z]{1,8})?"
    rf"{_POWER})|\s?([\u4e00-\u9fff]{{1,4}}))$"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_CONTENT = re.compile(_IN_COMMAND)
_ENDS_IN_COMMAND = re.compile(r"\\[a-zA-Z]+$")
# "3 cats" and "3\\text{cats}", but not "3abc", a product of letters.
_APART = re.compile(r"\d\s*(?:\s[a-zA-Z]|\\[a-z]+\s?\{|[\u4e00-\u9fff])")
_MOST_UNIT_CHARS = 120
_DECIMALS = 10**6
_ROUNDED = Fraction(5, 10**5)
_BOTH_ROUNDED = Fraction(1, 10**6)


def same_quantities(gold: str, given: str) -> bool | None:
    """Whether two numbers, with units or without, are equal; None when one is no quantity."""
    right, said = read_quantity(gold), read_quantity(given)
    if right is None or said is None or _other_name(gold, given):
        return None
    if any(_may_be_variable(side, text) for side, text in ((right, gold), (said, given))) and (
        right.unit is None or said.unit is None
    ):
        return None
    known = [read_unit(side.unit) if side.unit else None for side in (right, said)]
    if any(
        side.unit and unit is None and not _APART.search(text)
        for side, unit, text in zip((right, said), known, (gold, given), strict=True)
    ):
        return None
    if right.unit and said.unit:
        if None not in known:
            return _same(right, said, known)
        return _name(right.unit) == _name(said.unit) and _same(right, said, [None, None])
    if said.unit and known[1] is None and not counts(said.unit, said.exact):
        return False
    return _same(right, said, [None, None])


def close(gold: Fraction, given: Fraction, rounded: int) -> bool:
    """Whether two numbers are equal, or equal after rounding when `rounded` of them are decimals.

    A decimal may stand for a number that it equals to six decimals and to a relative error of
    5e-5; two decimals, to one of 1e-6.
    """
    if gold == given or rounded == 0:
        return gold == given
    allowed = _ROUNDED if rounded == 1 else _BOTH_ROUNDED
    near = abs(gold - given) <= allowed * max(abs(gold), abs(given))
    return near and round(gold * _DECIMALS) == round(given * _DECIMALS)


def in_one_unit(gold: str, given: str) -> tuple[str, str] | None:
    r"""Both expressions in the same unit, if both end in a known one (``2\sqrt{3}\text{ cm}``).

    None when the units cannot be converted. If only one side has a unit, it is removed; other
    expressions stay as they are.
    """
    (bare_gold, right), (bare_given, said) = _without_unit(gold), _without_unit(given)
    if right is None or said is None or right == said:
        return bare_gold, bare_given
    if right[0] != said[0]:
        return None
    ratio = right[1] / said[1]
    return rf"\frac{{{ratio.numerator}}}{{{ratio.denominator}}} \cdot ({bare_gold})", bare_given


def _without_unit(side: str) -> tuple[str, tuple[str, Fraction] | None]:
    # Patterns of untrusted text are searched in a short end only: a unit is short.
    start = max(0, len(side) - _MOST_UNIT_CHARS)
    match = _COMMANDS.search(side[start:])
    if match is not None:
        name = _CONTENT.sub(r" \1", match[1])
        unit = read_unit(" ".join(name.replace("~", " ").split()))
    else:
        match = _BARE.search(side[start:])
        unit = _bare_unit(side[: start + match.start()], match) if match else None
    if match is None or unit is None:
        return side, None
    return side[: start + match.start()].strip(), unit


def _bare_unit(before: str, match: re.Match[str]) -> tuple[str, Fraction] | None:
    name = str(match[1] or match[2])
    variables = re.search(r"[a-zA-Z]", _COMMAND.sub("", unwrap(before)))
    if len(name) == 1 and name.isascii() and (name not in _UNIT_LETTERS or variables):
        return None
    return None if _ENDS_IN_COMMAND.search(before) else read_unit(name)


def _other_name(gold: str, given: str) -> bool:
    """Whether both numbers have names, and not the same one."""
    names = [match[1] for side in (gold, given) if (match := _NAMED.match(side))]
    return len(set(names)) > 1


def _may_be_variable(side: Quantity, text: str) -> bool:
    unit = side.unit
    letter = unit is not None and len(unit) == 1 and unit.isascii() and unit.isalpha()
    return letter and unit not in _UNIT_LETTERS and not _CONTENT.search(text)


def _same(gold: Quantity, given: Quantity, units: list[tuple[str, Fraction] | None]) -> bool:
    right, said = units
    if right is not None and said is not None and right[0] != said[0]:
        return False
    sizes = (right[1], said[1]) if right and said else (Fraction(1), Fraction(1))
    return close(gold.exact * sizes[0], given.exact * sizes[1], gold.decimal + given.decimal)


def _name(unit: str) -> str:
    return " ".join(unit.split()).casefold().removesuffix("s")
