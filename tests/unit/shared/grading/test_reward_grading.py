r"""How answers of each kind are read and compared."""

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.grading.extract import extract_answer
from shared.grading.grade import UngradableGold, canonical, check_gold, grade, step_shares
from shared.grading.kinds.maths import pairs_to_compare
from shared.grading.kinds.number import read_number, same_number
from shared.grading.pool import GraderPool
from shared.sample import AnswerKind
from tests.unit.shared.grading.grading_table import ANSWERS, RESPONSES


class NoExpressions:
    """An expression grader for kinds that must never ask one."""

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        raise AssertionError(f"asked about {pairs}")


async def right(answer: str | None, gold: str, kind: AnswerKind) -> bool:
    return await grade(answer, gold, kind, NoExpressions())


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b",
        " B ",
        "(B)",
        "(b)",
        "[B]",
        "B.",
        "B)",
        "B:",
        "B. cat",
        "B) cat",
        "B: cat",
        "(B) a cat.",
        "(B).",
        r"\text{B}",
        r"\text{(B)}",
        r"\mathrm{B}",
        r"\textbf{B}. cat",
        "**B**",
        "$B$",
        r"\(B\)",
        "Option B",
        "option (B)",
        "Image B",
        "The answer is B",
        "The answer is (B).",
        "the correct answer is: B",
        "Answer: B",
        "B. the first of 3.5 cats (about)",
        "B. Vitamin C",
    ],
)
async def test_letters_that_say_b(answer: str) -> None:
    assert await right(answer, "B", "letter")
    assert await right(answer, "(B)", "letter")
    assert not await right(answer, "A", "letter")


@pytest.mark.parametrize(
    "answer",
    [
        *(None, "", "AB", "BB", "A cat", "B cat", "The", "boxed", "A, B", "A and B", "A. or B."),
        *("(A) (B)", "A) x B) y", "2", "?", "not B", "é"),
    ],
)
async def test_letters_that_say_neither(answer: str | None) -> None:
    for gold in "AB":
        assert not await right(answer, gold, "letter")


@pytest.mark.parametrize(
    "answer",
    [
        *("second", "Second", "2", "2nd", "2.", "(2)", "#2", "the second", "the second image"),
        *("second picture", "the 2nd image", "image 2", "Image #2", "Figure (2)", "second image."),
        *("the second one", r"\text{second}"),
    ],
)
@pytest.mark.parametrize("gold", ["second", "2", "the second image"])
async def test_positions_that_say_second(answer: str, gold: str) -> None:
    assert await right(answer, gold, "position")
    assert not await right(answer, "first", "position")
    assert not await right(answer, "3", "position")


@pytest.mark.parametrize(
    "answer", ["", "0", "-1", "seconds", "1 or 2", "12", "first second", "1.5"]
)
async def test_positions_that_say_neither(answer: str) -> None:
    for gold in ("first", "second"):
        assert not await right(answer, gold, "position")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("7", "7"),
        ("7.0", "7"),
        ("+7", "7"),
        ("07", "7"),
        ("-7", "−7"),
        ("7.", "7"),
        (r"\text{7}", "7"),
        ("$7$", "7"),
        ("x = 7", "7"),
        ("1234", "1,234"),
        ("1,234,567.5", "1234567.5"),
        ("1{,}234", "1234"),
        (r"1\,234", "1234"),
        ("0.5", ".5"),
        ("1/2", "0.5"),
        (r"\frac{1}{2}", "0.5"),
        (r"\dfrac{1}{2}", "1/2"),
        ("1e3", "1000"),
        ("50%", "50"),
        (r"50\%", "50%"),
        ("50", "50%"),
        ("50 percent", "50"),
        (r"\$5", "5"),
        ("5€", "5"),
        ("0", "-0.0"),
    ],
)
async def test_equal_numbers(answer: str, gold: str) -> None:
    assert await right(answer, gold, "number")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("7", "8"),
        ("-7", "7"),
        ("0.5", "50%"),
        ("50%", "0.5"),
        ("1,2", "12"),
        ("1,23", "123"),
        ("1 2", "12"),
        ("1$2", "12"),
        ("seven", "7"),
        ("7 or 8", "7"),
        ("7 apples", "7"),
        ("1/0", "0"),
        ("1e999", "7"),
        ("inf", "7"),
        ("nan", "7"),
        ("0x7", "7"),
        ("７", "8"),
        ("9**9**9**9", "7"),
        ("__import__('os')", "7"),
        ("9" * 1999, "7"),
        ("0.0000001", "0"),
        ("100000001", "100000000"),
        ("", "7"),
    ],
)
async def test_different_numbers(answer: str, gold: str) -> None:
    assert not await right(answer, gold, "number")


def test_number_tolerance_is_relative() -> None:
    assert same_number(200.0, 201.9, tolerance=0.01)
    assert not same_number(200.0, 203.0, tolerance=0.01)


@given(st.integers(-(10**15), 10**15))
def test_whole_numbers_read_back(value: int) -> None:
    assert read_number(str(value)) == read_number(f"{value:,}") == float(value)


@given(st.text(max_size=40))
def test_reading_never_crashes(text: str) -> None:
    for kind in get_args(AnswerKind):
        form = canonical(text, kind)
        if form is not None:
            assert canonical(form, kind) == form


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("Cat", "cat", True),
        ("  a   black\ncat. ", "A black cat", True),
        (r"\text{yes}", "Yes", True),
        ('"yes"', "yes", True),
        ("“yes”", "yes", True),
        ("STRASSE", "straße", True),
        ("cats", "cat", False),
        ("not yes", "yes", False),
        ("", "yes", False),
        ("1,2", "2,1", False),
    ],
)
async def test_texts(answer: str, gold: str, same: bool) -> None:
    assert await right(answer, gold, "text") is same


@pytest.mark.parametrize(
    ("given", "gold", "verdict"),
    [
        ("x+1", "x+1", True),
        (r"\text{yes}", "Yes", True),
        ("yse", "yes", False),
        ("", "3", False),
        ("1,2,3", "1,2", False),
        ("2,1", "1,2", [("1", "2"), ("2", "1")]),
        ("(2,1)", "(1,2)", [("(1,2)", "(2,1)")]),
        (r"\{2,1\}", r"\{1,2\}", [(r"\{1,2\}", r"\{2,1\}")]),
        ("1,234", "1234", True),
        ("50\\%", "0.5", False),
        ("3", "x=3.", True),
        ("2(3)", "6+x", [("6+x", r"2\cdot (3)")]),
        (r"2\ 3", "5", [("5", "2, 3")]),
        (r"x+2\ 3", "x+5", False),
    ],
)
def test_what_expressions_leave_to_the_library(
    given: str, gold: str, verdict: bool | list[tuple[str, str]]
) -> None:
    assert pairs_to_compare(gold, given) == verdict


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        *(("cat", "letter"), ("AB", "letter"), ("left", "position"), ("0", "position")),
        *(("seven", "number"), (" ", "text"), ("", "math")),
    ],
)
def test_gold_answers_of_another_kind_are_refused(gold: str, kind: AnswerKind) -> None:
    with pytest.raises(UngradableGold, match=f"is not of kind '{kind}'"):
        check_gold(gold, kind)


@pytest.mark.parametrize(("answer", "gold", "kind", "verdict"), ANSWERS)
async def test_answers_get_the_verdict_of_the_table(
    pool: GraderPool, answer: str, gold: str, kind: AnswerKind, verdict: bool
) -> None:
    assert await grade(answer, gold, kind, pool) is verdict


@pytest.mark.parametrize(("response", "gold", "kind", "verdict"), RESPONSES)
async def test_responses_get_the_verdict_of_the_table(
    pool: GraderPool, response: str, gold: str, kind: AnswerKind, verdict: bool
) -> None:
    answer = extract_answer(response, kind, strict=False)
    assert await grade(answer, gold, kind, pool) is verdict, answer


def test_the_tables_hold_two_hundred_cases_of_all_kinds() -> None:
    rows = [*ANSWERS, *RESPONSES]
    assert len(set(ANSWERS)) + len(set(RESPONSES)) == len(rows) >= 200
    for kind in get_args(AnswerKind):
        assert {verdict for *_, of_kind, verdict in rows if of_kind == kind} == {True, False}


@pytest.mark.parametrize("gold", sorted({(gold, kind) for _, gold, kind, _ in ANSWERS}))
async def test_every_gold_answer_equals_itself(
    pool: GraderPool, gold: tuple[str, AnswerKind]
) -> None:
    check_gold(*gold)
    assert await grade(gold[0], *gold, pool)


async def test_each_step_has_its_own_verdict(pool: GraderPool) -> None:
    gold = "(1) 3; (2) x=4; (3) 5"
    assert await step_shares("(1) 3; (2) 5", gold, pool) == [True, False, False]
    assert await step_shares(None, gold, pool) == [False, False, False]


async def test_tolerance_holds_for_quantities(pool: GraderPool) -> None:
    assert await grade("1.01 m", "100 cm", "number", pool, tolerance=0.02)
    assert not await grade("1.03 m", "100 cm", "number", pool, tolerance=0.02)


@given(
    st.sampled_from("ABCDEFGH"),
    st.lists(
        st.sampled_from(["({})", "${}$", "**{}**", r"\text{{{}}}", " {} ", "{}.", "[{}]"]),
        max_size=1,
    ),
    st.lists(st.sampled_from(["${}$", "**{}**", r"\mathrm{{{}}}", " {} ", "`{}`"]), max_size=3),
)
def test_a_letter_is_itself_under_any_wrapping(
    letter: str, inner: list[str], outer: list[str]
) -> None:
    text = letter
    for wrapping in (*inner, *outer):
        text = wrapping.format(text)
    assert canonical(text, "letter") == letter
    assert canonical(text.lower(), "letter") == letter


@given(st.permutations("ABCDE"), st.sampled_from([", ", "-", "→", " > ", "、", " "]))
def test_a_sequence_is_itself_with_any_separator(order: list[str], separator: str) -> None:
    assert canonical(separator.join(order), "order") == ",".join(order)
    places = [str("ABCDE".index(letter) + 1) for letter in order]
    assert canonical(separator.join(places), "order") == ",".join(places)


@given(st.lists(st.sampled_from(["cat", "dog", "3", "x=4", "红"]), min_size=1), st.randoms())
def test_a_list_is_itself_in_any_order(items: list[str], rng: random.Random) -> None:
    shuffled = rng.sample(items, len(items))
    assert canonical(", ".join(shuffled), "list") == canonical("; ".join(items), "list")
