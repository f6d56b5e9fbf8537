"""Each benchmark's way of comparing answers, case by case."""

import pytest

from perl_rl.eval.items import Item, image_options, open_kind, without_labels
from perl_rl.eval.scoring import score
from shared.config import RewardConfig
from shared.errors import UserError
from shared.grading.kinds.steps import split_steps
from shared.grading.pool import GraderPool
from shared.sample import Sample


def item(kind: str, answer: str, tolerance: float | None = None, **fields: object) -> Item:
    sample = Sample(id="q", question="?", answer=answer, kind=kind, tolerance=tolerance)
    return Item(sample, **fields)


WORDS = {"rule": "choice", "choices": ("equilateral", "isosceles", "right", "12")}
HALF = {"rule": "rounded", "precision": 1}
WHOLE = {"rule": "rounded", "precision": 0}


@pytest.mark.parametrize(
    ("one", "answer", "right"),
    [
        (item("letter", "B", **WORDS), "B", True),
        (item("letter", "B", **WORDS), "(B) isosceles", True),
        (item("letter", "B", **WORDS), "isosceles", True),
        (item("letter", "B", **WORDS), "Isoceles triangle", True),
        (item("letter", "A", **WORDS), "isoceles", False),
        (item("letter", "D", **WORDS), "12", True),
        (item("letter", "B", **WORDS), "E", False),
        (item("number", "3.5", **HALF), "3.46", True),
        (item("number", "3.5", **HALF), "3.44", False),
        (item("number", "3.5", **HALF), "3.5 cm", True),
        (item("number", "3.5", **HALF), "\\text{about } 3", False),
        (item("number", "7", **WHOLE), "7.0", True),
        (item("number", "7", **WHOLE), "\\$7", True),
        (item("number", "7", **WHOLE), "seven", False),
        (item("number", "7", **WHOLE), "7\\%", True),
        (item("number", "7", **WHOLE), "70", False),
        (item("math", "[1, 2]", rule="list"), "[1,2]", True),
        (item("math", "[1, 2]", rule="list"), "1, 2", True),
        (item("math", "[1, 2]", rule="list"), "[2, 1]", False),
        (item("math", "[1, 2]", rule="list"), "[1, 2, 3]", False),
        (item("number", "100", tolerance=0.01), "101", True),
        (item("number", "100", tolerance=0.01), "101.5", False),
        (item("math", "0.333333", absolute=1e-6), "0.3333333", True),
        (item("math", "0.333333", absolute=1e-6), "0.3334", False),
        (item("math", "3.0", absolute=1e-6), "3", True),
        (item("math", "\\frac{\\sqrt{2}}{2}", absolute=1e-6), "\\frac{1}{\\sqrt{2}}", True),
        (item("text", "Yes"), "yes.", True),
        (item("steps", "(1) 3; (2) 4", rule="steps"), "(1) 3; (2) 4", True),
        (item("steps", "(1) 3; (2) 4", rule="steps"), "(1) 3, (2) 4.0", True),
        (item("steps", "(1) 3; (2) 4", rule="steps"), "3; 4", True),
        (item("steps", "(1) 3; (2) 4", rule="steps"), "(1) 4; (2) 3", False),
        (item("steps", "(1) 3; (2) 4", rule="steps"), "(1) 3", False),
        (item("steps", "(1) 3; (2) 4", rule="steps"), "3", False),
    ],
)
async def test_answers_are_compared_the_benchmarks_way(one: Item, answer: str, right: bool) -> None:
    async with GraderPool(RewardConfig(workers=1)) as pool:
        verdict = await score(one, one.sample.answer, f"\\boxed{{{answer}}}", pool)
        assert verdict.right is right, verdict
        none = await score(one, one.sample.answer, " \n", pool)
        assert (none.right, none.given) == (False, None)


async def test_a_gold_answer_of_another_kind_is_named() -> None:
    async with GraderPool(RewardConfig(workers=1)) as pool:
        with pytest.raises(UserError, match="question q: the gold answer 'ten' is no number"):
            await score(item("number", "ten", **WHOLE), "ten", "\\boxed{1}", pool)


@pytest.mark.parametrize(
    ("answer", "steps"),
    [
        ("(1) 3; (2) x = 4", {1: "3", 2: "x = 4"}),
        ("（1） 3；（2） 4", {1: "3", 2: "4"}),
        ("(1) f(2) = 3\n(2) 5.", {1: "f(2) = 3", 2: "5"}),
        ("(1) (3, 1); (2) 7; (3) 8", {1: "(3, 1)", 2: "7", 3: "8"}),
        ("3; 4", {}),
        ("(2) 4", {}),
        ("", {}),
    ],
)
def test_steps_are_told_apart_by_their_numbers(answer: str, steps: dict[int, str]) -> None:
    assert split_steps(answer) == steps


@pytest.mark.parametrize(
    ("choices", "images", "order", "fixed"),
    [
        (["the first image", "the second image"], 2, "letter", ()),
        (["the second image", "the third image"], 3, "letter", (0,)),
        (["The second image.", "The fourth image."], 4, "letter", (0, 2)),
        (["Image 1", "Image 2"], 2, "letter", ()),
        (["<image>", "<image>"], 3, "letter", (0,)),
        (["the second image", "the first image"], 2, None, ()),
        (["the first image", "the third image"], 2, None, ()),
        (["the first image", "both"], 2, None, ()),
        (["left", "right"], 2, None, ()),
        ([], 2, None, ()),
    ],
)
def test_the_order_rule_is_known_where_choices_name_images(
    choices: list[str], images: int, order: str | None, fixed: tuple[int, ...]
) -> None:
    assert image_options(choices, images) == (order, fixed)


def test_labels_of_choices_are_taken_off_only_where_all_have_one() -> None:
    assert without_labels(["(A) cat", "(B) dog"]) == ["cat", "dog"]
    assert without_labels(["A. cat", "B: dog", "C) cow"]) == ["cat", "dog", "cow"]
    assert without_labels(["A. Smith", "Brown"]) == ["A. Smith", "Brown"]


def test_open_answers_are_numbers_or_texts() -> None:
    assert [open_kind(one) for one in ("12", "1,200.5", "50%", "red", "3 cats")] == [
        *("number", "number", "number", "text", "text")
    ]
