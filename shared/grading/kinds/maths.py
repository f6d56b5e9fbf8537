r"""Mathematical expressions: the rules that apply before a maths library compares them.

The library lacks these rules: a bare list is ordered (``1,2`` is not ``2,1``, while ``\{1,2\}`` is
``\{2,1\}`` and "1 or 2" is "2 or 1"), a set is not a pair, a ratio is equal up to a common factor
and term by term, a percent sign is a unit (50% is not 0.5), units must agree (12 cm is not 12 m),
and words are words. A worker process (``math_worker.py``) decides whether the remaining
expressions are equal.
"""

import re
from collections.abc import Sequence

from shared.grading.kinds.expressions import factored, is_readable, says_words, spelled
from shared.grading.kinds.latex import tidy
from shared.grading.kinds.marks import other_marks
from shared.grading.kinds.parts import items, one_line, ratio_name, ratio_terms
from shared.grading.kinds.quantities import in_one_unit, same_quantities
from shared.grading.kinds.text import read_text
from shared.grading.kinds.wrapping import unwrap, without_pairs

Pairs = list[tuple[str, str]]

_PERCENT = re.compile(r"\s?(?:\\?%|percent)$")
_TUPLE = re.compile(r"\(([^()\[\]{}]*)\)")
_LIST = re.compile(r"\[([^()\[\]{}]*)\]")
_NAMED = re.compile(r"\s*([A-Za-z](?:_\{?\w\}?)?)\s*=\s*")
_OR_COMMAND = re.compile(r"\\(?:text|mathrm|mbox)\s?\{\s*(or|and)\s*\}|\\(?:lor|vee)(?![a-z])")
_OR = re.compile(r"\s*(?:,\s*)?(?:\bor\b|或)\s*")
_AND = re.compile(r"\s*,?\s*\band\b\s*|\s*和\s*")
_SET = re.compile(r"\\\{(.*?)\\\}", re.DOTALL)
_RELATION = re.compile(r"[<>≤≥]|\\(?:[lg]e|leq|geq|lt|gt)(?![a-z])")
_INTERVAL = re.compile(r"[(\[].*[)\]]", re.DOTALL)
_HALF_LINE = re.compile(r"[a-zA-Z]\s?(<=?|>=?|\\[lg](?:eq?|t)(?![a-z]))\s?([^<>\\]+|\\.+)")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d)?\s?[ap]\.?\s?m\b", re.IGNORECASE)
_BASE = re.compile(r"(?<![\w.}])\d+_\{?(\d+)", re.ASCII)
_ELLIPSIS = re.compile(r"(?<=[,+*-])\s?(?:…|\.{3,})|\\(?:cdots|dots[cbm]?)(?![a-z])")
_FULL_STOP = re.compile(r"(?<![.\s])\s?[.,;]$")


def pairs_to_compare(gold: str, given: str, by_text: bool = True) -> Pairs | bool:
    """The pairs of expressions that must all be equal for `given` to be right, or the verdict.

    Args:
        gold: the right answer, as LaTeX or plain text; one of its alternatives.
        given: the answer to grade.
        by_text: whether equal texts are equal without the library.
    """
    gold, given = _prepared(gold), _prepared(given)
    if other_marks(gold, given):
        return False
    verdict = same_quantities(gold, given)
    if verdict is not None:
        return verdict
    sides = in_one_unit(gold, given)
    if sides is None:
        return False
    gold, given = (spelled(unwrap(side)) for side in sides)
    if not gold or not given:
        return False
    if _other_base(gold, given):
        return False
    if by_text and _same_text(gold, given):
        return True
    if _says_words(gold, gold=True) or _says_words(given):
        return _same_words(gold, given)
    return _compared(gold, given)


def _other_base(gold: str, given: str) -> bool:
    """Whether numbers are in other bases (101_2, 101_3), which the library does not read."""
    bases = [_BASE.findall(side) for side in (gold, given)]
    return all(bases) and bases[0] != bases[1]


def _same_text(gold: str, given: str) -> bool:
    return gold.split() == given.split() or (
        is_readable(gold) and is_readable(given) and "".join(gold.split()) == "".join(given.split())
    )


def _prepared(side: str) -> str:
    """One line without the signs of formulas, and with its units still in their commands."""
    joined = _OR_COMMAND.sub(
        lambda match: f" {match[1] or 'or'} ", one_line(tidy(without_pairs(side)))
    )
    return _FULL_STOP.sub("", _ELLIPSIS.sub(r"\\ldots ", joined).strip()).strip()


def _says_words(side: str, gold: bool = False) -> bool:
    # The library reads a word as a product of letters, so that "yes" equals "yse".
    chinese = _CHINESE.search(_OR.sub("", _AND.sub("", side)))
    return bool(chinese or _CLOCK.search(side) or says_words(side, gold))


def _same_words(gold: str, given: str) -> bool:
    right, said = read_text(gold), read_text(given)
    return right is not None and said is not None and right.split() == said.split()


def _compared(gold: str, given: str) -> Pairs | bool:
    if len(_OR.split(gold)) > 1 or len(_OR.split(given)) > 1:
        if any(sign in side for sign in ("\\cup", "\\infty", "|") for side in (gold, given)):
            return _readable([(_as_union(gold), _as_union(given))])
        return _readable([(_as_set(gold), _as_set(given))])
    terms, said = ratio_terms(gold), ratio_terms(given)
    if len(terms) > 2 or len(said) > 2 or (terms and said):
        names = {ratio_name(side) for side in (gold, given)} - {""}
        return len(names) < 2 and _ratios(terms, said)
    if _is_set_and_tuple(gold, given) or _is_set_and_tuple(given, gold):
        return False
    golds, givens = items(_AND.sub(",", gold)), items(_AND.sub(",", given))
    # "(2,1)" against "1,2": the library would read the bare list as a set. A gold answer in square
    # brackets may be an interval.
    if len(golds) > 1 and (bracketed := _TUPLE.fullmatch(given) or _LIST.fullmatch(given)):
        givens = items(bracketed[1])
    elif len(givens) > 1 and (bracketed := _TUPLE.fullmatch(gold)):
        golds = items(bracketed[1])
    if len(golds) > 1 and len(givens) > 1:
        return _lists_to_compare(golds, givens)
    # One item that was no single expression: "(1)(2)(4)" is not 8.
    gold, given = _whole(golds, gold), _whole(givens, given)
    # The library finds an inequality equal to an interval only if the inequality comes first.
    if _INTERVAL.fullmatch(gold) and _RELATION.search(given):
        gold, given = given, gold
    return _readable([_without_percent(gold, given)])


def _whole(found: Sequence[str], text: str) -> str:
    return ", ".join(found) if len(found) > 1 else text


def _readable(pairs: Pairs) -> Pairs | bool:
    """The pairs, or False when the library would misread one: it adds the numbers of "2 3"."""
    if not all(is_readable(side) for pair in pairs for side in pair):
        return False
    return [(factored(gold), factored(given)) for gold, given in pairs]


def _ratios(gold: list[str], given: list[str]) -> Pairs | bool:
    """Every term over the first one; a term of zero only equals zero, and factors no zero."""
    if len(gold) != len(given):
        return False
    zeros = [
        [re.fullmatch(r"0+(?:\.0*)?", term) is not None for term in side] for side in (gold, given)
    ]
    if zeros[0] != zeros[1] or any(zeros[0]):
        return [term.lstrip("0") for term in gold] == [term.lstrip("0") for term in given]
    pairs = [
        (rf"\frac{{{right}}}{{{gold[0]}}}", rf"\frac{{{said}}}{{{given[0]}}}")
        for right, said in zip(gold[1:], given[1:], strict=True)
    ]
    return _readable(pairs)


def _lists_to_compare(golds: list[str], givens: list[str]) -> Pairs | bool:
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
            return _readable([(gold, given)])
        golds, givens = (
            sorted(side, key=lambda item: item.split("=")[0].strip()) for side in (golds, givens)
        )
    pairs = [pair for pair in zip(golds, givens, strict=True) if pair != ("\\ldots", "\\ldots")]
    return _readable([_without_percent(*pair) for pair in pairs])


def _is_set_and_tuple(one: str, other: str) -> bool:
    """Whether `one` is in braces and `other` is several items in round or square brackets."""
    bracketed = _TUPLE.fullmatch(other) or _LIST.fullmatch(other)
    several = bracketed is not None and len(items(bracketed[1])) > 1
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


def _as_set(text: str) -> str:
    """ "1 or 2" and "1, 2" as the set of both."""
    inside = text.removeprefix("\\{").removesuffix("\\}")
    return "\\{" + ",".join(item for part in _OR.split(inside) for item in items(part)) + "\\}"


def _without_percent(gold: str, given: str) -> tuple[str, str]:
    return _PERCENT.sub("", gold), _PERCENT.sub("", given)
