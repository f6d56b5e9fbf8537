"""Advantages on two levels, within an order and within the group, for any rewards."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.compute.advantages import group_advantages
from shared.config import ObjectiveConfig

groups_of_rewards = st.lists(
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.9, 1.0, 1.5]), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


def _advantages(rewards: list[list[float]], **keys: Any) -> np.ndarray:
    return group_advantages([np.array(order) for order in rewards], ObjectiveConfig(**keys))


@given(groups_of_rewards, st.floats(0, 1), st.sampled_from(["population", "sample", "none"]))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_two_levels_lie_between_the_order_and_the_group(
    rewards: list[list[float]], weight: float, normalise: Any
) -> None:
    def two_level(share: float) -> np.ndarray:
        keys = {"advantage": "two_level", "per_order_weight": share, "normalise": normalise}
        return _advantages(rewards, **keys)

    own = _advantages(rewards, advantage="per_order", normalise=normalise)
    pooled = _advantages(rewards, advantage="pooled", normalise=normalise)
    assert two_level(1.0).tolist() == own.tolist()
    assert two_level(0.0).tolist() == pooled.tolist()
    assert two_level(weight) == pytest.approx(weight * own + (1 - weight) * pooled)
    # Each level takes its own mean off, so nothing is added to the group as a whole.
    assert two_level(weight).sum() == pytest.approx(0.0, abs=1e-6)
    start = 0
    for order in rewards:
        end = start + len(order)
        assert own[start:end].sum() == pytest.approx(0.0, abs=1e-6)
        # Within an order no level turns better into worse.
        ranked = two_level(weight)[start:end][np.argsort(order, kind="stable")]
        assert (np.diff(ranked) > -1e-9).all()
        start = end


@given(groups_of_rewards, st.floats(0, 1), st.integers(0, 3), st.randoms(use_true_random=False))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_what_two_levels_do_not_depend_on(
    rewards: list[list[float]], weight: float, easier: int, rng: Any
) -> None:
    keys = {"advantage": "two_level", "per_order_weight": weight}
    found = _advantages(rewards, **keys)
    moved = [[0.5 + reward for reward in order] for order in rewards]
    assert _advantages(moved, **keys) == pytest.approx(found, abs=1e-6)
    shuffled = rng.sample(range(len(rewards)), len(rewards))
    pieces = np.split(found, np.cumsum([len(order) for order in rewards])[:-1])
    expected = np.concatenate([pieces[place] for place in shuffled])
    assert _advantages([rewards[place] for place in shuffled], **keys) == pytest.approx(
        expected, abs=1e-9
    )
    # An order that is easier by as much for all its answers: its own level does not see it, the
    # group's does.
    place = easier % len(rewards)
    eased = [
        [one + 2.0 for one in order] if i == place else order for i, order in enumerate(rewards)
    ]
    own = {"advantage": "two_level", "per_order_weight": 1.0}
    assert _advantages(eased, **own) == pytest.approx(_advantages(rewards, **own), abs=1e-6)
    pooled = {"advantage": "two_level", "per_order_weight": 0.0, "normalise": "none"}
    change = _advantages(eased, **pooled) - _advantages(rewards, **pooled)
    share = len(rewards[place]) / len(found)
    wanted = [
        2.0 * (number == place) - 2.0 * share for number, order in enumerate(rewards) for _ in order
    ]
    assert change == pytest.approx(wanted if len(found) > 1 else [0.0])


def test_two_levels_of_a_ragged_group_worked_by_hand() -> None:
    # PODS may leave 2 responses of one order, 3 of another and a single one of the third. Of
    # {0, 1, 0} the mean is 1/3 and the deviation sqrt(2)/3; a single reward has no advantage.
    rewards = [[1.0, 0.0], [0.0, 1.0, 0.0], [1.0]]
    low, high = -1 / np.sqrt(2), np.sqrt(2)
    own = np.array([1.0, -1.0, low, high, low, 0.0])
    # Three of all six are right: mean and deviation 0.5.
    pooled = np.array([1.0, -1.0, -1.0, 1.0, -1.0, 1.0])
    keys = {"advantage": "two_level", "per_order_weight": 0.25, "advantage_eps": 1e-12}
    assert _advantages(rewards, **keys) == pytest.approx(0.25 * own + 0.75 * pooled)
