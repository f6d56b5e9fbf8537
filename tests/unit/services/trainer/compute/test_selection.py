"""PODS: which responses of a group are trained on."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.trainer.compute.advantages import group_advantages
from services.trainer.compute.selection import max_variance_subset, select
from shared.config import Config, ObjectiveConfig
from shared.wire.messages import ScoredGroup, ScoredOrder
from tests.builders import batch, response, reward


def group_of(*orders: list[float]) -> ScoredGroup:
    """A group with these rewards; each response's text says where it stood."""
    scored = []
    for number, totals in enumerate(orders):
        responses = tuple(response(text=f"{number}.{index}") for index in range(len(totals)))
        scored.append(
            ScoredOrder(
                batch=batch(order_index=number).model_copy(update={"responses": responses}),
                rewards=tuple(reward(total) for total in totals),
                scored_s=0.0,
            )
        )
    return ScoredGroup(group_id="g-7", orders=tuple(scored))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_no_other_subset_varies_more(data: st.DataObject) -> None:
    rewards = np.array(data.draw(st.lists(st.integers(-8, 8), min_size=2, max_size=9))) / 8
    keep = data.draw(st.integers(1, len(rewards)))
    chosen = max_variance_subset(rewards, keep)
    best = max(
        np.var(rewards[list(one)]) for one in itertools.combinations(range(len(rewards)), keep)
    )
    assert len(set(chosen.tolist())) == keep
    assert np.var(rewards[chosen]) == pytest.approx(best, abs=1e-12)


def test_rewards_stay_with_their_responses() -> None:
    chosen = select(group_of([0.5, 0.1, 0.5], [0.5, 0.9, 0.5]), keep=2)
    assert [
        (answer.text, one.total)
        for order in chosen.orders
        for answer, one in zip(order.batch.responses, order.rewards, strict=True)
    ] == [("0.1", 0.1), ("1.1", 0.9)]


def test_an_order_without_responses_is_left_out() -> None:
    chosen = select(group_of([0.5, 0.5], [0.0, 1.0]), keep=2)
    assert [order.batch.task.order_index for order in chosen.orders] == [1]


def test_no_order_is_preferred_among_equal_rewards() -> None:
    chosen = select(group_of(*([[1.0, 0.0] * 4] * 4)), keep=16)
    assert len(chosen.orders) == 4
    assert Counter(len(order.rewards) for order in chosen.orders) == {4: 4}
    assert sorted(chosen.rewards()) == [0.0] * 8 + [1.0] * 8


def test_within_orders_each_keeps_what_its_own_advantages_need() -> None:
    # Over all orders the best of the one and the worst of the other vary most; within orders they
    # are all alike.
    group = group_of([0.5, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.5])
    per_order = ObjectiveConfig(advantage="per_order")
    pooled = select(group, keep=4)
    assert group_advantages(pooled.rewards_by_order(), per_order).tolist() == [0.0] * 4

    chosen = select(group, keep=4, within_orders=True)

    assert [sorted(rewards) for rewards in chosen.rewards_by_order()] == [[0.5, 1.0], [0.0, 0.5]]
    advantages = group_advantages(chosen.rewards_by_order(), per_order)
    assert np.abs(advantages) == pytest.approx(1.0, abs=1e-5)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=1, max_size=3))
def test_within_orders_nothing_is_told_only_where_nothing_was(rewards: list[list[int]]) -> None:
    group = group_of(*([one / 4 for one in order] for order in rewards))
    chosen = select(group, keep=2 * len(rewards), within_orders=True)
    for before, after in zip(group.orders, chosen.orders, strict=True):
        totals = [one.total for one in before.rewards]
        kept = [one.total for one in after.rewards]
        assert sorted(kept) == [min(totals), max(totals)]


def test_a_group_no_larger_than_the_subset_stays_whole() -> None:
    group = group_of([0.0, 1.0], [0.5, 0.5])
    assert select(group, keep=4) is group


@pytest.mark.parametrize(
    ("keep", "preset", "problem"),
    [
        (9, "perl", r"keep \(9\) must not be more than the 8 responses"),
        (5, "grpo", r"keep \(5\) must be the same number, 2 or more, for each of the 2 orders"),
        (2, "grpo", r"keep \(2\) must be the same number, 2 or more"),
        (4, "grpo", None),
        (5, "perl", None),
    ],
)
def test_what_cannot_be_kept_is_refused(keep: int, preset: str, problem: str | None) -> None:
    settings = {
        "run": "r",
        "model": {"path": "model"},
        "data": {"train": "train.jsonl"},
        "permutation": {"n_s": 1},
        "sampling": {"n": 4},
        "trainer": {"selection": {"keep": keep}, "objective": {"preset": preset}},
    }
    if problem is None:
        assert Config.model_validate(settings).trainer.selection.keep == keep
        return
    with pytest.raises(ValidationError, match=problem):
        Config.model_validate(settings)
