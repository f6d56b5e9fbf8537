r"""Kinds of mistakes in comparisons, each with cases, and laws that hold for all answers."""

import asyncio
import time
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.grading.golds import gold_matches_itself
from shared.grading.grade import UngradableGold, canonical, grade
from shared.grading.kinds.latex import tidy
from shared.grading.kinds.maths import pairs_to_compare
from shared.grading.kinds.number import read_number, read_quantity
from shared.grading.kinds.parts import items, one_line, ratio_terms
from shared.grading.kinds.quantities import close
from shared.grading.kinds.siunitx import without_siunitx
from shared.grading.kinds.units import read_unit
from shared.grading.pool import GraderPool
from shared.sample import AnswerKind
from tests.unit.shared.grading.comparison_table import COMPARISONS


@pytest.mark.parametrize(("answer", "gold", "kind", "verdict"), COMPARISONS)
async def test_comparisons_get_the_verdict_of_the_table(
    pool: GraderPool, answer: str, gold: str, kind: AnswerKind, verdict: bool
) -> None:
    assert await grade(answer, gold, kind, pool) is verdict


@pytest.mark.parametrize(
    ("gold", "kind"),
    sorted({(gold, kind) for _, gold, kind, right in COMPARISONS if right and gold != "0:1"}),
)
async def test_gold_answers_of_the_table_match_themselves(
    pool: GraderPool, gold: str, kind: AnswerKind
) -> None:
    assert await gold_matches_itself(gold, kind, pool)


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        (r"\frac{1}{2", "math"),
        (r"x}{y", "math"),
        (r"\begin{tikzpicture}\end{tikzpicture}", "math"),
        (r"x = \int", "math"),
        (r"\frac{1}{}", "math"),
        (r"2\ 3 + x", "math"),
        ("(1) 3; (2) \\frac{1}{", "steps"),
        ("}B{", "text"),
    ],
)
async def test_gold_answers_that_no_answer_matches(
    pool: GraderPool, gold: str, kind: AnswerKind
) -> None:
    assert not await gold_matches_itself(gold, kind, pool)


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ("B", "letter"),
        ("12 cm", "number"),
        (r"\frac{3}{4}", "math"),
        (r"\text{no solution}", "math"),
        (r"AB \parallel CD", "math"),
        ("平行四边形", "math"),
        (r"(1) 3; (2) \sqrt{2}", "steps"),
        ("yes", "boolean"),
        ("cat, dog", "list"),
    ],
)
async def test_gold_answers_that_match_themselves(
    pool: GraderPool, gold: str, kind: AnswerKind
) -> None:
    assert await gold_matches_itself(gold, kind, pool)


async def test_a_gold_answer_of_another_kind_is_refused(pool: GraderPool) -> None:
    with pytest.raises(UngradableGold, match="'seven' is not of kind 'number'"):
        await gold_matches_itself("seven", "number", pool)


def equal_without_library(answer: str, gold: str) -> bool:
    return pairs_to_compare(gold, answer) is True


_WHOLE = st.integers(-(10**12), 10**12)
_TERMS = st.lists(st.integers(1, 10**6), min_size=2, max_size=6)


@settings(max_examples=30)
@given(_WHOLE)
def test_a_whole_number_equals_itself_in_every_format(value: int) -> None:
    sign, size = ("-" if value < 0 else ""), abs(value)
    grouped = f"{size:,}"
    for written in (
        f"{value}",
        f"${value}$",
        rf"\({value}\)",
        rf"\num{{{value}}}",
        f"{sign}{grouped}",
        sign + grouped.replace(",", r"\,"),
        sign + grouped.replace(",", "{,}"),
        sign + grouped.replace(",", " "),
        f"x = {value}",
        f"{value}.",
        f"{value}.0",
        f"{value} cm",
        rf"{value}\text{{ cm}}",
        rf"\text{{{value}}}",
    ):
        quantity = read_quantity(written)
        assert quantity is not None and quantity.exact == value, written
        assert equal_without_library(written, str(value)), written
        assert not equal_without_library(written, str(value + 1)), written


@given(st.integers(1, 999_999), st.integers(-30, 30))
def test_scientific_notation_is_read_in_every_spelling(digits: int, power: int) -> None:
    value = Fraction(digits) * Fraction(10) ** power
    raised = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    for written in (
        f"{digits}e{power}",
        f"{digits}E{power}",
        rf"{digits}\times 10^{{{power}}}",
        rf"{digits} \cdot 10^{{{power}}}",
        f"{digits}×10^{power}",
        f"{digits} x 10^({power})",
        f"{digits}*10**{power}",
        f"{digits}×10{raised}",
        rf"\num{{{digits}e{power}}}",
    ):
        quantity = read_quantity(written)
        assert quantity is not None and quantity.exact == value, written
        other = read_quantity(rf"{digits}\times 10^{{{power + 1}}}")
        assert other is not None and other.exact != value


@given(st.integers(0, 99), st.integers(1, 98), st.integers(2, 99))
def test_mixed_numbers_are_sums_and_only_with_proper_fractions(
    whole: int, upper: int, lower: int
) -> None:
    assume(upper < lower and whole > 0)
    value = read_number(rf"{whole}\frac{{{upper}}}{{{lower}}}")
    assert value == read_number(f"{whole} {upper}/{lower}") == float(Fraction(upper, lower) + whole)
    assert read_number(rf"{whole}\frac{{{lower}}}{{{upper}}}") is None


@given(_TERMS, st.integers(1, 1000))
def test_a_ratio_equals_its_multiples_and_no_other_order(terms: list[int], factor: int) -> None:
    gold = ":".join(map(str, terms))
    scaled = [term * factor for term in terms]
    assert ratio_terms(gold) == [str(term) for term in terms]
    assert _ratio_right(":".join(map(str, scaled)), gold)
    other = [scaled[0] + 1, *scaled[1:]]
    assert not _ratio_right(":".join(map(str, other)), gold)
    assert not _ratio_right(":".join(map(str, scaled[:-1])), gold) or len(terms) == 2


def _ratio_right(answer: str, gold: str) -> bool:
    """The verdict with fractions of whole numbers for the library."""
    pairs = pairs_to_compare(gold, answer)
    if isinstance(pairs, bool):
        return pairs
    return all(_fraction(one) == _fraction(other) for one, other in pairs)


def _fraction(text: str) -> Fraction | str:
    upper, _, lower = text.removeprefix(r"\frac{").removesuffix("}").partition("}{")
    return Fraction(int(upper), int(lower)) if lower else text


@given(st.text(alphabet=r"\{}()[]^_$%#&~,;:.'12xyab/|<>=+-* ²½°π√" + "\n", max_size=60))
def test_preparing_never_crashes_and_is_stable(text: str) -> None:
    tidied = tidy(text)
    assert tidy(tidied) == tidy(tidy(tidied))
    for part in (without_siunitx(text), one_line(tidied)):
        items(part)
        ratio_terms(part)
    pairs_to_compare(text, "3")
    pairs_to_compare("3", text)
    read_unit(text)


@given(st.fractions(), st.fractions(), st.integers(0, 2))
def test_closeness_is_symmetric_and_relative(one: Fraction, other: Fraction, rounded: int) -> None:
    assert close(one, one, rounded)
    assert close(one, other, rounded) == close(other, one, rounded)
    if close(one, other, rounded):
        assert abs(one - other) <= Fraction(1, 10**4) * max(abs(one), abs(other))
    assert close(one, other, 0) == (one == other)


@given(st.integers(1, 99), st.integers(1, 99), st.integers(50, 300))
def test_small_numbers_are_told_apart(one: int, other: int, power: int) -> None:
    right = Fraction(one, 10**power)
    assert close(right, Fraction(other, 10**power), 2) == (one == other)


@pytest.mark.parametrize(
    ("unit", "known"),
    [
        ("kg·m/s^2", ("N", 1)),
        (r"N \cdot m", ("J", 1)),
        ("km/h", ("m/s", Fraction(5, 18))),
        ("m s^{-1}", ("m/s", 1)),
        ("square centimeters", ("m^2", Fraction(1, 10**4))),
        ("meters squared", ("m^2", 1)),
        ("cm³", ("m^3", Fraction(1, 10**6))),
        ("kW·h", ("J", 3_600_000)),
        ("m/m", None),
        ("%^2", None),
        ("square seconds", None),
        ("xyz", None),
        ("", None),
    ],
)
def test_products_of_units(unit: str, known: tuple[str, Fraction] | None) -> None:
    assert read_unit(unit) == known


def test_a_hundred_parts_are_not_compared_with_two_alternatives() -> None:
    class Counting:
        asked = 0

        async def equal(self, pairs: list[tuple[str, str]]) -> bool:
            self.asked += 1
            return True

    counting = Counting()
    many = " ## ".join(f"x+{number}" for number in range(100))
    assert not asyncio.run(grade(many, "x ## y", "math", counting))
    assert counting.asked == 0


@pytest.mark.parametrize(
    "part", [r"\text{ m} \cdot ", r"{\rm a}", "; ", "  ", "a ^2 ", "1:", "(1) ", "²", "1 1/2 "]
)
def test_long_answers_of_repeated_parts_are_read_in_time(part: str) -> None:
    text = ("1" + part * 2000)[:1990] + "!"
    start = time.perf_counter()
    pairs_to_compare("3 cm", text)
    canonical(text, "number")
    canonical(text, "list")
    assert time.perf_counter() - start < 5.0
