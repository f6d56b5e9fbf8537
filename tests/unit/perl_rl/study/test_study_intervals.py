"""Means over seeds and paired differences, on runs whose figures are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perl_rl.study.intervals import arm_figure, at_equal_groups, difference, over_seeds
from perl_rl.study.page import study_page
from perl_rl.study.results import Item, Point, RunResult, StudyResults


def point(step: int, accuracy: float) -> Point:
    return Point(
        step=step,
        responses=step * 100,
        trained_groups=step * 4,
        accuracy=accuracy,
        worst_case=accuracy / 2,
        flip_rate=1 - accuracy,
        by_slot={0: accuracy},
    )


def run(arm: str, seed: int, accuracies: list[float], steps: int = 4) -> RunResult:
    items = {
        f"q{number}": Item(accuracy=value, flips=0 < value < 1)
        for number, value in enumerate(accuracies)
    }
    points = [point(step, float(np.mean(accuracies))) for step in range(0, steps + 1, 2)]
    return RunResult(
        arm=arm, seed=seed, settings="s", outcome="done", points=points, items=items, trained=steps
    )


def results(*runs: RunResult) -> StudyResults:
    arms = {one.arm: one.arm.upper() for one in runs}
    return StudyResults(
        name="s", title="S", baseline="b", responses=400, arms=arms, runs=list(runs)
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=9), min_size=1, max_size=4))
def test_the_mean_is_of_seeds_and_lies_in_its_interval(by_seed: list[list[float]]) -> None:
    found = over_seeds([np.array(values) for values in by_seed])
    assert found.value == pytest.approx(np.mean([np.mean(values) for values in by_seed]))
    # Quantiles of means of so many draws, computed in another order than the mean itself.
    assert found.low - 0.02 <= found.value <= found.high + 0.02


def test_an_interval_widens_with_the_seeds_and_with_the_questions() -> None:
    alike = [np.array([0.5, 0.5])] * 3
    seeds_differ = [np.array([0.3, 0.3]), np.array([0.5, 0.5]), np.array([0.7, 0.7])]
    questions_differ = [np.array([0.0, 1.0])] * 3
    widths = [one.high - one.low for one in map(over_seeds, (alike, seeds_differ))]
    assert widths[0] == 0 < widths[1]
    within = over_seeds(questions_differ)
    assert within.high - within.low > 0.5


def test_a_difference_pairs_questions_of_the_same_seed() -> None:
    baseline = {1: run("b", 1, [0.0, 1.0, 0.0, 1.0]), 2: run("b", 2, [1.0, 0.0, 1.0, 0.0])}
    better = {1: run("a", 1, [0.25, 1.0, 0.25, 1.0]), 3: run("a", 3, [1.0] * 4)}
    found = difference(better, baseline, "accuracy")
    assert found is not None
    # Seed 3 has no partner; unpaired, the spread of the questions would hide the difference.
    assert found.value == pytest.approx(0.125)
    assert found.low >= 0
    assert difference({3: better[3]}, baseline, "accuracy") is None


def test_each_figure_is_read_from_the_items() -> None:
    runs = {1: run("a", 1, [1.0, 0.5, 0.0, 1.0])}
    assert arm_figure(runs, "accuracy").value == pytest.approx(0.625)
    assert arm_figure(runs, "worst_case").value == pytest.approx(0.5)
    assert arm_figure(runs, "flip_rate").value == pytest.approx(0.25)


def test_equal_groups_are_at_the_last_step_that_all_runs_have() -> None:
    step, arms = at_equal_groups(results(run("a", 1, [1.0], steps=8), run("b", 1, [0.5], steps=4)))
    assert step == 4
    assert arms["a"]["accuracy"].value == 1.0 and arms["b"]["accuracy"].value == 0.5
    assert at_equal_groups(results()) == (0, {})


def test_the_page_names_what_failed_and_what_is_missing() -> None:
    failed = RunResult(arm="c", seed=1, settings="s", outcome="failed: no disk")
    page = study_page(
        results(run("a", 1, [1.0, 1.0]), run("b", 1, [0.0, 1.0]), failed), "command", "s.png"
    )
    assert "- C, seed 1: failed: no disk" in page
    assert "| A | +0.500 [+0.000, +1.000] |" in page
    assert "| C | 0 | not measured |" in page
    assert "2 of 3 runs done" in page
