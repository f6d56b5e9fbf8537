"""Means over seeds and differences between arms, with 95 % bootstrap intervals.

Seeds are drawn with replacement, and then, within each drawn seed, its questions: what differs
between two runs and what differs between two sets of questions both widen the interval. With a
handful of seeds it is still somewhat too narrow.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perl_rl.eval.bootstrap import Estimate, interval
from perl_rl.study.results import Item, RunResult, StudyResults

DRAWS = 10_000
_SEED = 0

Values = NDArray[np.float64]

FIGURES = {
    "accuracy": "accuracy over all orders",
    "worst_case": "right under every order",
    "flip_rate": "flip rate",
}
"""What is compared, with its words."""


def item_value(item: Item, figure: str) -> float:
    """What one question counts in a figure."""
    if figure == "accuracy":
        return item.accuracy
    if figure == "worst_case":
        return float(item.accuracy == 1)
    return float(item.flips)


def over_seeds(by_seed: Sequence[Values]) -> Estimate:
    """The mean over seeds of the mean over questions.

    Args:
        by_seed: of each seed, a value for each question, (questions,).
    """
    rng = np.random.default_rng(_SEED)
    # One mean of each seed for each draw and place: the questions are drawn anew each time.
    count = len(by_seed)
    means = np.stack([_means(values, DRAWS * count, rng) for values in by_seed])
    chosen = rng.integers(0, count, size=(DRAWS, count))
    draws = means[chosen, np.arange(DRAWS * count).reshape(DRAWS, count)].mean(axis=1)
    return interval(float(np.mean([values.mean() for values in by_seed])), draws)


def _means(values: Values, draws: int, rng: np.random.Generator) -> Values:
    """The means of so many draws of all questions with replacement, (draws,)."""
    if len(values) == 1:
        return np.full(draws, values[0])
    kinds, counts = np.unique(values, return_counts=True)
    taken = rng.multinomial(len(values), counts / len(values), size=draws)
    return taken @ kinds / len(values)


def arm_figure(runs: Mapping[int, RunResult], figure: str) -> Estimate:
    """One figure after training, of the runs of an arm by seed."""
    return over_seeds([_values(run.items, sorted(run.items), figure) for run in runs.values()])


def difference(
    runs: Mapping[int, RunResult], baseline: Mapping[int, RunResult], figure: str
) -> Estimate | None:
    """Arm less baseline, question by question of the seeds that both have; None without any."""
    pairs = [(runs[seed].items, baseline[seed].items) for seed in sorted(runs.keys() & baseline)]
    differences = []
    for mine, theirs in pairs:
        names = sorted(mine.keys() & theirs)
        differences.append(_values(mine, names, figure) - _values(theirs, names, figure))
    return over_seeds(differences) if differences else None


def _values(items: Mapping[str, Item], names: Sequence[str], figure: str) -> Values:
    return np.array([item_value(items[name], figure) for name in names])


def at_equal_groups(results: StudyResults) -> tuple[int, dict[str, dict[str, Estimate]]]:
    """The figures of all arms at the last step that every run was evaluated at.

    Each step trains as many groups in every arm. Returns the step and, by arm, the figures; the
    intervals are over seeds alone. The step is 0 when the runs share no other.
    """
    arms = {name: found for name in results.arms if (found := results.of(name))}
    runs = [run for found in arms.values() for run in found.values()]
    if not runs:
        return 0, {}
    step = max(set.intersection(*({one.step for one in run.points} for run in runs)), default=0)
    return step, {
        name: {figure: over_seeds(_at(found, step, figure)) for figure in FIGURES}
        for name, found in arms.items()
    }


def _at(runs: Mapping[int, RunResult], step: int, figure: str) -> list[Values]:
    points = [one for run in runs.values() for one in run.points if one.step == step]
    return [np.array([getattr(point, figure)]) for point in points]
