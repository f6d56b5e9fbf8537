"""Which choice a reply names, and the benchmarks' rules that depend on it."""

from collections.abc import AsyncIterator

import pytest

from perl_rl.eval.choices import named_choice, same_choice
from perl_rl.eval.items import Item, ScoreRule, several_letters
from perl_rl.eval.scoring import score
from shared.config import RewardConfig
from shared.grading.pool import GraderPool
from shared.sample import AnswerKind, Sample

ANSWERS = ("Yes", "No")
SHAPES = ("equilateral", "isosceles", "right", "12")
FRUIT = ("red apple", "green apple", "pear")
LONG = ("Yes, the water is rising", "No, the water is falling")
COUNTS = ("12 apples", "13 apples", "14 pears")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[GraderPool]:
    async with GraderPool(RewardConfig(workers=1, grade_timeout_s=20)) as pool:
        yield pool


@pytest.mark.parametrize(
    ("choices", "reply", "letter"),
    [
        # Yes and no, at the start of a sentence.
        (ANSWERS, "Yes", "A"),
        (ANSWERS, "Yes, the water is rising.", "A"),
        (ANSWERS, "No, there are not fewer.", "B"),
        (ANSWERS, "no, there are not fewer", "B"),
        (ANSWERS, "Yes, there are no red balls left of the tree.", "A"),
        (ANSWERS, "The answer is no, because the bar is lower.", "B"),
        (ANSWERS, "B", "B"),
        (ANSWERS, "Answer: (A) Yes", "A"),
        (ANSWERS, "\\boxed{No}", "B"),
        (ANSWERS, "是的，水位上升了。", "A"),
        (("No", "Yes"), "Yes, both are.", "B"),
        (
            ("yes", "no"),
            "No.\n\nThe left bar is lower than the right bar in every one of the years.",
            "B",
        ),
        (LONG, "Yes", "A"),
        (LONG, "No, it is falling.", "B"),
        (ANSWERS, "Yes or no", None),
        (ANSWERS, "The water rises.", None),
        (ANSWERS, "I do not know.", None),
        (ANSWERS, "", None),
        # Texts, with their typing errors.
        (SHAPES, "isosceles", "B"),
        (SHAPES, "Isoceles triangle", "B"),
        (SHAPES, "The triangle is isosceles.", "B"),
        (SHAPES, "The answer is **equilateral**.", "A"),
        (SHAPES, "right", "C"),
        (SHAPES, "12", "D"),
        (SHAPES, "The answer is 12.0", "D"),
        (SHAPES, "13", None),
        (SHAPES, "E", None),
        (SHAPES, "The triangle is not isosceles.", None),
        (SHAPES, "It is scalene.", None),
        (SHAPES, "equilateral or isosceles", None),
        (SHAPES, "The picture shows a triangle on a white ground.", None),
        (
            SHAPES,
            "Two of its sides are marked as equal in the figure, so the triangle ABC is isosceles.",
            "B",
        ),
        (FRUIT, "the red apple", "A"),
        (FRUIT, "green aple", "B"),
        (FRUIT, "apple", None),
        (FRUIT, "a pear", "C"),
        (FRUIT, "bear", "C"),
        (FRUIT, "banana", None),
        (COUNTS, "13 apples", "B"),
        (COUNTS, "15 apples", None),
        (COUNTS, "14 pears", "C"),
        (("left", "upper left"), "upper left", "B"),
        (("left", "upper left"), "left", "A"),
        (("increase", "decrease"), "It increases", "A"),
        (("红色", "蓝色"), "答案是蓝色。", "B"),
    ],
)
def test_a_reply_names_one_choice_or_none(
    choices: tuple[str, ...], reply: str, letter: str | None
) -> None:
    assert named_choice(reply, choices)[1] == letter


def test_a_choice_that_is_listed_twice_is_the_same() -> None:
    choices = ("3", "4", "3.", " 5")
    assert same_choice("A", "C", choices) and same_choice("B", "B", choices)
    assert not same_choice("A", "B", choices) and not same_choice("A", "E", choices)


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        *(
            ("AC", "A, C"),
            ("A, C", "A, C"),
            ("C, A", "A, C"),
            ("A and C", "A, C"),
            ("A、C", "A, C"),
        ),
        *(("(A)(C)", "A, C"), ("A C", "A, C"), ("ABD", "A, B, D"), ("A;B", "A, B")),
        *(("A", None), ("AA", None), ("cat", None), ("A cat", None), ("12", None), ("", None)),
    ],
)
def test_several_letters_are_told_from_other_answers(answer: str, letters: str | None) -> None:
    assert several_letters(answer) == letters


def item(kind: AnswerKind, answer: str, rule: ScoreRule, choices: tuple[str, ...] = ()) -> Item:
    return Item(Sample(id="q", question="?", answer=answer, kind=kind), rule=rule, choices=choices)


VALUES = item("letter", "B", "value", ("3", "12\\pi", "$\\frac{1}{2}$", "12", "3"))
LETTERS = item("list", "A, C", "letters")
WHOLE = item("number", "7", "truncated")
TWICE = item("letter", "A", "choice", ("3", "4", "3"))


@pytest.mark.parametrize(
    ("one", "response", "right"),
    [
        # MathVision and MathVerse: the letter, else the right option's value.
        (VALUES, "\\boxed{B}", True),
        (VALUES, "\\boxed{12\\pi}", True),
        (VALUES, "The answer is $12\\pi$.", True),
        (VALUES, "The area is \\boxed{12\\pi}, which is option (B).", True),
        (VALUES, "\\boxed{12\\pi}. The answer is: (E).", False),
        (VALUES, "\\boxed{12}", False),
        (VALUES, "\\boxed{D}", False),
        (VALUES, "\\boxed{\\frac{1}{2}}", False),
        (VALUES, "\\boxed{37.7}", False),
        (item("letter", "A", "value", ("3", "4", "3")), "\\boxed{C}", True),
        (item("letter", "B", "value", ("True", "False")), "The answer is False.", True),
        (item("letter", "B", "value", ("True", "False")), "The answer is True.", False),
        (item("letter", "C", "value", ("x", "y", "z")), "\\boxed{z}", True),
        (item("letter", "C", "value", ("x", "y", "z")), "\\boxed{x}", False),
        # Several letters: all of them, and no other.
        (LETTERS, "\\boxed{A, C}", True),
        (LETTERS, "\\boxed{C, A}", True),
        (LETTERS, "\\boxed{AC}", True),
        (LETTERS, "The answer is A and C.", True),
        (LETTERS, "Answer: (A), (C)", True),
        (LETTERS, "答案：A、C", True),
        (LETTERS, "\\boxed{A}", False),
        (LETTERS, "\\boxed{A, B, C}", False),
        (LETTERS, "\\boxed{B, C}", False),
        (LETTERS, "\\boxed{12}", False),
        (LETTERS, "I do not know.", False),
        # MathVista: integers lose their decimals, and equal choices are one.
        (WHOLE, "\\boxed{7}", True),
        (WHOLE, "\\boxed{7.9}", True),
        (WHOLE, "The answer is 7.2 cm.", True),
        (WHOLE, "\\boxed{6.9}", False),
        (WHOLE, "\\boxed{8}", False),
        (item("number", "-7", "truncated"), "\\boxed{-7.9}", True),
        (WHOLE, "\\boxed{seven}", False),
        (TWICE, "\\boxed{C}", True),
        (TWICE, "\\boxed{3}", True),
        (TWICE, "\\boxed{B}", False),
        (item("letter", "B", "choice", ANSWERS), "No, there are not fewer.", True),
        (item("letter", "B", "choice", ANSWERS), "The bars show the sales.", False),
    ],
)
async def test_the_benchmarks_rules(
    pool: GraderPool, one: Item, response: str, right: bool
) -> None:
    verdict = await score(one, one.sample.answer, response, pool)
    assert verdict.right is right, verdict
    assert (verdict.given == one.sample.answer) is right or one.rule == "truncated", verdict
