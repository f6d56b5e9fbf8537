"""The comparison of two results on cases worked out by hand."""

from itertools import product

import pytest

from perl_rl.eval.bootstrap import Bootstrap, wilson
from perl_rl.eval.compare import compare
from perl_rl.eval.items import Benchmark
from perl_rl.eval.results import AnswerResult, ItemResult, Result
from perl_rl.eval.summarise import summarise
from shared.errors import UserError


def item(name: str, right: bool, task: str = "t", prompt: str = "?") -> ItemResult:
    answer = AnswerResult(
        order=0,
        repeat=0,
        permutation=(),
        prompt=prompt,
        images=(),
        gold="A",
        response="",
        extracted="A",
        given="A",
        in_original="A",
        right=right,
    )
    return ItemResult(id=name, task=task, kind="letter", groups={}, excluded="x", answers=(answer,))


def result(items: list[ItemResult], average: str = "micro", name: str = "b") -> Result:
    benchmark = Benchmark(name, name, "test", 1, average, "letters", lambda row, pictures: None)
    return Result(
        benchmark=name,
        model="m",
        settings={},
        summary=summarise(benchmark, items),
        robustness=None,
        items=tuple(items),
    )


def rights(pattern: str) -> list[ItemResult]:
    return [item(str(place), sign == "+") for place, sign in enumerate(pattern)]


def test_mcnemar_looks_at_the_discordant_items() -> None:
    a = result(rights("+" + "-" * 9 + "+" * 20 + "-" * 5))
    b = result(rights("-" + "+" * 9 + "+" * 20 + "-" * 5))
    score = compare(a, b).score
    assert (score.items, score.only_a, score.only_b) == (35, 1, 9)
    # Two-sided, 10 tosses: 2 (1 + 10) / 2^10.
    assert score.p_value == pytest.approx(22 / 1024)
    assert score.difference.value == pytest.approx(8 / 35)
    assert score.difference.low < 8 / 35 < score.difference.high


def test_a_result_does_not_differ_from_itself() -> None:
    for average in ("micro", "macro"):
        one = result(rights("+-+-+"), average)
        score = compare(one, one).score
        assert (score.p_value, score.difference.value) == (1.0, 0.0)


def test_macro_weighs_tasks_alike() -> None:
    small = [item(f"s{place}", False, "small") for place in range(2)]
    large = [item(f"l{place}", True, "large") for place in range(98)]
    better = [item(f"s{place}", True, "small") for place in range(2)]
    score = compare(result(small + large, "macro"), result(better + large, "macro")).score
    assert (score.a, score.b) == (0.5, 1.0)
    assert score.difference.value == 0.5


def test_results_of_other_questions_are_refused_with_both_facts() -> None:
    a, b = result(rights("+-+")), result(rights("+-"))
    with pytest.raises(UserError, match=r"A has 3 questions, B 2, and 2 of them are the same; "):
        compare(a, b)
    other = result([item("0", True), item("1", True, prompt="other words")])
    with pytest.raises(UserError, match=r"A has 2 questions, B 2, and 1 of them are the same"):
        compare(b, other)


def test_results_of_other_orders_are_refused_with_both_facts() -> None:
    def in_orders(*permutations: tuple[int, ...]) -> Result:
        (answer,) = item("0", True).answers
        answers = [
            answer.model_copy(update={"order": place, "permutation": permutation})
            for place, permutation in enumerate(permutations)
        ]
        shown = {"answers": tuple(answers), "excluded": None}
        return result([item("0", True).model_copy(update=shown)])

    two, three = in_orders((0, 1), (1, 0)), in_orders((0, 1))
    with pytest.raises(UserError, match="asked question '0' in 2 orders, B in 1, and not the same"):
        compare(two, three)
    assert compare(two, three, common=True).robustness == {}
    assert compare(two, two).robustness["flip rate"].items == 1


def test_only_the_same_questions_are_paired() -> None:
    a = result([item("0", True), item("1", True), item("2", True, prompt="other words")])
    b = result([item("1", False), item("2", True), item("3", True)])
    comparison = compare(a, b, common=True)
    assert (comparison.items, comparison.only_in_one) == (1, 4)
    with pytest.raises(UserError, match="no question in common"):
        compare(a, result([item("9", True)]), common=True)


def test_other_benchmarks_are_refused() -> None:
    with pytest.raises(UserError, match="A is of b, B of c"):
        compare(result(rights("+")), result(rights("+"), name="c"))


def test_wilsons_interval() -> None:
    # By the formula, 7 of 20 with z = 1.959964.
    estimate = wilson(7, 20)
    assert estimate.value == 0.35
    assert (estimate.low, estimate.high) == (
        pytest.approx(0.181192, abs=1e-5),
        pytest.approx(0.567146, abs=1e-5),
    )


@pytest.mark.parametrize(("share", "items"), list(product((0.2, 0.5), (50, 400))))
def test_the_bootstrap_is_as_wide_as_the_normal_interval(share: float, items: int) -> None:
    values = [float(place < share * items) for place in range(items)]
    estimate = Bootstrap(items).mean(values)
    width = 2 * 1.96 * (share * (1 - share) / items) ** 0.5
    assert estimate.value == pytest.approx(share)
    assert estimate.high - estimate.low == pytest.approx(width, rel=0.15)
    ratio = Bootstrap(items).ratio(values, [1.0] * items)
    assert ratio.low == pytest.approx(estimate.low, abs=1e-6)
