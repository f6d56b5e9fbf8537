r"""Mathematical expressions: the rules that apply before a maths library compares them.

The library lacks these rules: a bare list is ordered (``1,2`` is not ``2,1``, while ``\{1,2\}`` is
``\{2,1\}`` and "1 or 2" is "2 or 1"), a set is not a pair, a percent sign is a unit (50% is not
0.5), and units must agree (12 cm is not 12 m). A worker process (``math_worker.py``) decides
whether the remaining expressions are equal.
"""

import re
from fractions import Fraction

from shared.grading.kinds.number import (
    Quantity,
    read_quantity,
    same_quantity,
    without_separators,
)
from shared.grading.kinds.text import read_text
from shared.grading.kinds.units import read_unit
from shared.grading.kinds.wrapping import unwrap

_THOUSANDS = re.compile(r"\s*-?\d{1,3}(?:,\s?\d{3})+(?:\.\d+)?\s*", re.ASCII)
_PERCENT = re.compile(r"\s?(?:\\?%|percent)$")
_WORDS = re.compile(r"[A-Za-z]{3,}(?:[\s-]+[A-Za-z]+)*")
_OPENING, _CLOSING = "([{", ")]}"
_TUPLE = re.compile(r"(?:\\left\s?)?\(([^()\[\]{}]*?)(?:\\right\s?)?\)")
_LIST = re.compile(r"(?:\\left\s?)?\[([^()\[\]{}]*?)(?:\\right\s?)?\]")
_NAMED = re.compile(r"\s*([A-Za-z](?:_\{?\w\}?)?)\s*=\s*")
_OR = re.compile(r"\s*(?:,\s*)?(?:\bor\b|或)\s*")
_AND = re.compile(r"\s*,?\s*\band\b\s*|\s*和\s*")
_SET = re.compile(r"(?:\\left\s?)?\\\{(.*?)(?:\\right\s?)?\\\}", re.DOTALL)
_RELATION = re.compile(r"[<>≤≥]|\\(?:[lg]e|leq|geq|lt|gt)(?![a-z])")
_INTERVAL = re.compile(r"(?:\\left\s?)?[(\[].*[)\]]", re.DOTALL)
_HALF_LINE = re.compile(r"[a-zA-Z]\s?(<=?|>=?|\\[lg](?:eq?|t)(?![a-z]))\s?([^<>\\]+|\\.+)")
_TRAILING_UNIT = re.compile(
    r"(?P<before>.*[\w})\]$])\s?(?:\\[,;:\s]\s?)*"
    r"(?:\\(?:text|mathrm|mbox)\s?\{\s*~?(?P<spelled>[^{}\\]{1,24})\}(?P<power>\s?\^\s?\{?[23]\}?)?"
    r"|\s(?P<bare>(?:square\s|cubic\s)?[a-zA-Z]{2,16}(?:/[a-z]{1,8})?(?:\^\{?[23]\}?|[²³])?))\.?",
    re.DOTALL,
)
_DOLLARS = re.compile(r"^\$([^$]*)\$$")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mbox)\s?\{")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
# Spellings that the library cannot read, and the LaTeX that it can.
_SPELLINGS = tuple(
    (re.compile(spelling), latex)
    for spelling, latex in (
        (r"√\s?\(([^()]*)\)|√\s?(\d+|[a-z])", r"\\sqrt{\1\2}"),
        ("∠", r"\\angle "),
        ("²", "^2"),
        ("³", "^3"),
        (r"°|\\degree(?![a-z])", r"^\\circ "),
        (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])|π", r"\\pi "),
        (r"∞|(?<![a-zA-Z\\])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty "),
        ("∪|(?<=[)\\]])\\s?U\\s?(?=[(\\[])", r"\\cup "),
        ("∩", r"\\cap "),
        ("△", r"\\triangle "),
        ("∥", r"\\parallel "),
        ("⊥", r"\\perp "),
        ("≤", r"\\le "),
        ("≥", r"\\ge "),
        (r"(?<![a-zA-Z\\])(sin|cos|tan|log|ln)(?![a-zA-Z])", r"\\\1 "),
        (r"∅|\\varnothing(?![a-z])", r"\\emptyset "),
        ("±", r"\\pm "),
        ("×", r"\\times "),
        ("÷", r"\\div "),
        (r"(?<![\w.])(\d{1,9}) (\d{1,9})/(\d{1,9})(?!\w)", r"(\1+\2/\3)"),
        (r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d{1,3})(?!\w)", r"\1*10^{\2}"),
    )
)


def pairs_to_compare(gold: str, given: str) -> list[tuple[str, str]] | bool:
    """The pairs of expressions that must all be equal for `given` to be right, or the verdict.

    Args:
        gold: the right answer, as LaTeX or plain text.
        given: the answer to grade.
    """
    quantities = _with_units(gold, given)
    if quantities is not None:
        return same_quantity(*quantities)
    converted = _converted(gold, given)
    if converted is None:
        return False
    gold, given = (_spelled(unwrap(side).rstrip(".")) for side in converted)
    if not gold or not given:
        return False
    if gold == given:
        return True
    # The library reads a word as a product of letters, so that "yes" equals "yse".
    if _WORDS.fullmatch(gold) or _CHINESE.search(_OR.sub("", gold)):
        return read_text(gold) == read_text(given)
    if len(_OR.split(gold)) > 1 or len(_OR.split(given)) > 1:
        if any("\\cup" in side or "\\infty" in side for side in (gold, given)):
            return [(_as_union(gold), _as_union(given))]
        return [(_as_set(gold), _as_set(given))]
    if _is_set_and_tuple(gold, given) or _is_set_and_tuple(given, gold):
        return False
    golds, givens = _items(_AND.sub(",", gold)), _items(_AND.sub(",", given))
    # "(2,1)" against "1,2": the library would read the bare list as a set. A gold answer in square
    # brackets may be an interval.
    if len(golds) > 1 and (bracketed := _TUPLE.fullmatch(given) or _LIST.fullmatch(given)):
        givens = _items(bracketed[1])
    elif len(givens) > 1 and (bracketed := _TUPLE.fullmatch(gold)):
        golds = _items(bracketed[1])
    if len(golds) > 1 and len(givens) > 1:
        return _lists_to_compare(golds, givens)
    # The library finds an inequality equal to an interval only if the inequality comes first.
    if _INTERVAL.fullmatch(gold) and _RELATION.search(given):
        gold, given = given, gold
    return [_without_percent(gold, given)]


def _lists_to_compare(golds: list[str], givens: list[str]) -> list[tuple[str, str]] | bool:
    """The pairs of items in order; named values ("y=2, x=1") are matched by name, and several
    values of one name ("x=2, x=-2") are compared as a set."""
    if len(golds) != len(givens):
        return False
    names = [
        [match[1] for item in side if (match := _NAMED.match(item))] for side in (golds, givens)
    ]
    if len(names[0]) == len(golds) and sorted(names[0]) == sorted(names[1]):
        if len(set(names[0])) == 1:
            values = (",".join(_NAMED.sub("", item) for item in side) for side in (golds, givens))
            gold, given = (f"\\{{{value}\\}}" for value in values)
            return [(gold, given)]
        golds, givens = (
            sorted(side, key=lambda item: item.split("=")[0].strip()) for side in (golds, givens)
        )
    return [_without_percent(*pair) for pair in zip(golds, givens, strict=True)]


def _converted(gold: str, given: str) -> tuple[str, str] | None:
    r"""Both expressions in the same unit, if both end in a known one (``2\sqrt{3}\text{ cm}``).

    None when the units cannot be converted. If only one side has a unit, and it is certainly a
    unit, it is removed; other expressions stay as they are.
    """
    sides = [_TRAILING_UNIT.fullmatch(_DOLLARS.sub(r"\1", side.strip())) for side in (gold, given)]
    found = [(match["before"], read_unit(_unit_name(match))) for match in sides if match]
    units = [unit for _, unit in found if unit]
    if len(units) < 2:
        return _without_spelled_unit(gold), _without_spelled_unit(given)
    (dimension, size), (other, given_size) = units
    if dimension != other:
        return None
    bare_gold, bare_given = (before for before, _ in found)
    if size == given_size:
        return bare_gold, bare_given
    # The exact ratio of two units is a fraction of whole numbers; the floats are rounded.
    ratio = Fraction(size / given_size).limit_denominator(10**9)
    return rf"\frac{{{ratio.numerator}}}{{{ratio.denominator}}} \cdot ({bare_gold})", bare_given


def _without_spelled_unit(side: str) -> str:
    match = _TRAILING_UNIT.fullmatch(_DOLLARS.sub(r"\1", side.strip()))
    spelled = match is not None and match["spelled"] and read_unit(_unit_name(match))
    return match["before"] if match and spelled else side


def _unit_name(match: re.Match[str]) -> str:
    return str(match["bare"] or match["spelled"] + (match["power"] or "")).strip()


def _is_set_and_tuple(one: str, other: str) -> bool:
    """Whether `one` is in braces and `other` is several items in round or square brackets."""
    bracketed = _TUPLE.fullmatch(other) or _LIST.fullmatch(other)
    several = bracketed is not None and len(_items(bracketed[1])) > 1
    return several and _SET.fullmatch(one) is not None


def _as_union(text: str) -> str:
    r"""``x<1 or x>3`` as ``(-\infty,1)\cup(3,\infty)``; other text unchanged."""
    parts = [_HALF_LINE.fullmatch(part.strip()) for part in _OR.split(text)]
    if len(parts) < 2 or not all(parts):
        return text
    intervals = []
    for relation, bound in (match.groups() for match in parts if match):
        closed = relation[-1] in "=eq"
        if relation.startswith(("<", "\\l")):
            intervals.append(rf"(-\infty,{bound.strip()}{']' if closed else ')'}")
        else:
            intervals.append(rf"{'[' if closed else '('}{bound.strip()},\infty)")
    return r"\cup".join(intervals)


def _with_units(gold: str, given: str) -> tuple[Quantity, Quantity] | None:
    """Both sides as quantities if one certainly has a unit; a single letter may be a variable."""
    right, said = read_quantity(gold), read_quantity(given)
    if right is None or said is None:
        return None
    units = [unit for unit in (right.unit, said.unit) if unit and read_unit(unit)]
    units = [unit for unit in units if unit not in ("%", "percent")]
    spelled = any(len(unit) > 1 or not unit.isascii() for unit in units)
    in_command = units and _TEXT_COMMAND.search(gold + given)
    return (right, said) if spelled or in_command or len(units) == 2 else None


def _spelled(text: str) -> str:
    plain = without_separators(text)
    text = plain if _THOUSANDS.fullmatch(plain) else text
    for spelling, latex in _SPELLINGS:
        text = spelling.sub(latex, text)
    return text.strip()


def _as_set(text: str) -> str:
    """ "1 or 2" and "1, 2" as the set of both."""
    inside = text.removeprefix("\\{").removesuffix("\\}")
    return "\\{" + ",".join(item for part in _OR.split(inside) for item in _items(part)) + "\\}"


def _items(text: str) -> list[str]:
    """The items of a bare list, split at commas outside brackets; other text is one item."""
    if _THOUSANDS.fullmatch(text):
        return [text]
    items, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character in ",;、" and depth == 0:
            items.append(text[start:place].rstrip("\\").strip())
            start = place + 1
    return [*items, text[start:].strip()]


def _without_percent(gold: str, given: str) -> tuple[str, str]:
    return _PERCENT.sub("", gold), _PERCENT.sub("", given)
