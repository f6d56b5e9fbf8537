"""``perl-rl eval compare A B``: two results on the same questions in the same orders, paired.

Results that differ in them are refused, unless only what they have in common is asked for.

Right and wrong answers are compared by McNemar's exact test, which looks only at the items on which
the two results differ. Means are compared by a paired bootstrap over items.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest

from perl_rl.eval.bootstrap import Bootstrap, Estimate, interval
from perl_rl.eval.results import ItemResult, Result
from shared.errors import UserError
from shared.words import amount

Test = Literal["McNemar, exact", "paired bootstrap"]


class Difference(BaseModel):
    """One figure of both results over the same items, and B - A."""

    model_config = ConfigDict(frozen=True)

    items: int
    a: float
    b: float
    difference: Estimate
    """B - A with its interval by paired bootstrap."""
    p_value: float
    """Two-sided; the null hypothesis is no difference."""
    test: Test
    only_a: int | None = None
    """Of McNemar's test: items that count in A but not in B."""
    only_b: int | None = None


class Comparison(BaseModel):
    """Every figure that both results have."""

    model_config = ConfigDict(frozen=True)

    benchmark: str
    model_a: str
    model_b: str
    items: int
    only_in_one: int = 0
    """With ``--common``: items left out, because one result lacks them or asks them in other
    words."""
    score: Difference
    """The benchmark's own score: micro or macro, as published."""
    tasks: dict[str, Difference]
    robustness: dict[str, Difference]
    """Over the items that both asked in the same orders."""


Pair = tuple[ItemResult, ItemResult]


def compare(a: Result, b: Result, common: bool = False) -> Comparison:
    """Pair the items by id and question.

    Args:
        common: compare only the items that both have; otherwise both must have asked the same
            questions, in the same orders.

    Raises:
        UserError: when the benchmarks differ, the results differ in what they asked, or they have
            no item in common.
    """
    if a.benchmark != b.benchmark:
        raise UserError(
            f"compare: A is of {a.benchmark}, B of {b.benchmark}; name two results of one benchmark"
        )
    others = {item.id: item for item in b.items}
    pairs = [(one, others[one.id]) for one in a.items if _same_question(one, others.get(one.id))]
    if not common:
        _refuse_others(a, b, pairs)
    if not pairs:
        raise UserError(
            "compare: the two results have no question in common; evaluate both on the same --data"
        )
    by_task: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_task[pair[0].task].append(pair)
    macro = a.summary.average == "macro"
    return Comparison(
        benchmark=a.benchmark,
        model_a=a.model,
        model_b=b.model,
        items=len(pairs),
        only_in_one=len(a.items) + len(b.items) - 2 * len(pairs),
        score=_macro(list(by_task.values())) if macro else _binary(_rights(pairs)),
        tasks={task: _binary(_rights(by_task[task])) for task in sorted(by_task)},
        robustness=_robustness(pairs),
    )


def _refuse_others(a: Result, b: Result, pairs: Sequence[Pair]) -> None:
    fix = "evaluate both alike, or add --common to compare only what both asked"
    if not len(a.items) == len(b.items) == len(pairs):
        raise UserError(
            f"compare: A has {amount(len(a.items), 'question')}, B {len(b.items)}, and "
            f"{len(pairs)} of them "
            f"are the same; {fix}"
        )
    for one, other in pairs:
        if _permutations(one) != _permutations(other):
            raise UserError(
                f"compare: A asked question '{one.id}' in {amount(len(one.in_orders), 'order')}, "
                "B in "
                f"{len(other.in_orders)}, and not the same ones; {fix}"
            )


def _same_question(one: ItemResult, other: ItemResult | None) -> bool:
    if other is None:
        return False
    mine, theirs = one.answers[0], other.answers[0]
    return (mine.prompt, mine.images, mine.gold) == (theirs.prompt, theirs.images, theirs.gold)


def _rights(pairs: Sequence[Pair]) -> list[tuple[bool, bool]]:
    return [(one.right, other.right) for one, other in pairs]


def _robustness(pairs: Sequence[Pair]) -> dict[str, Difference]:
    """Mean accuracy over orders, worst case and flip rate, of items asked in the same orders."""
    paired = [
        (one, other)
        for one, other in pairs
        if one.excluded is None and _permutations(one) == _permutations(other)
    ]
    if not paired:
        return {}
    return {
        "accuracy over orders": _mean([(one.accuracy, other.accuracy) for one, other in paired]),
        "worst case": _binary([(one.accuracy == 1, other.accuracy == 1) for one, other in paired]),
        "flip rate": _binary([(one.flips, other.flips) for one, other in paired]),
    }


def _permutations(item: ItemResult) -> list[tuple[int, ...]]:
    return [answer.permutation for answer in item.in_orders]


def _binary(values: Sequence[tuple[bool, bool]]) -> Difference:
    """McNemar's exact test: without a difference, each discordant item is a toss of a coin."""
    only_a = sum(one and not other for one, other in values)
    only_b = sum(other and not one for one, other in values)
    differ = only_a + only_b
    p_value = float(binomtest(only_a, differ).pvalue) if differ else 1.0
    test: Test = "McNemar, exact"
    return _difference(
        [[(float(one), float(other)) for one, other in values]], p_value, test
    ).model_copy(update={"only_a": only_a, "only_b": only_b})


def _mean(values: Sequence[tuple[float, float]]) -> Difference:
    return _difference([values], None, "paired bootstrap")


def _macro(tasks: Sequence[Sequence[Pair]]) -> Difference:
    """The mean over tasks; the bootstrap draws within each task."""
    values = [[(float(one), float(other)) for one, other in _rights(task)] for task in tasks]
    return _difference(values, None, "paired bootstrap")


def _difference(
    strata: Sequence[Sequence[tuple[float, float]]], p_value: float | None, test: Test
) -> Difference:
    """The difference of two means over strata's means; p by bootstrap unless it is given."""
    arrays = [np.asarray(values) for values in strata]
    a, b = (float(np.mean([array[:, side].mean() for array in arrays])) for side in (0, 1))
    draws = np.mean(
        [
            Bootstrap(len(array), seed=place).means(list(array[:, 1] - array[:, 0]))
            for place, array in enumerate(arrays)
        ],
        axis=0,
    )
    return Difference(
        items=sum(len(array) for array in arrays),
        a=a,
        b=b,
        difference=interval(b - a, draws),
        p_value=_bootstrap_p(draws) if p_value is None else p_value,
        test=test,
    )


def _bootstrap_p(draws: NDArray[np.float64]) -> float:
    """Twice the share of draws on the other side of zero; never 0, as there are finitely many."""
    count = len(draws)
    below, above = np.sum(draws <= 0), np.sum(draws >= 0)
    return float(min(1.0, 2 * (min(below, above) + 1) / (count + 1)))
