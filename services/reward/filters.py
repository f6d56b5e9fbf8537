"""Which scored groups are worth training on: a filter keeps a group, or drops it for a reason.

The reason is recorded in the ledger and counted in the metrics.
"""

from collections.abc import Callable, Sequence

import numpy as np

from shared.config import FilterConfig
from shared.messages import ScoredGroup

UNIFORM_REWARD = "uniform_reward"
ACCURACY_OUT_OF_BOUNDS = "accuracy_out_of_bounds"

Filter = Callable[[ScoredGroup], str | None]
"""The reason to drop the group, or None to keep it."""


def uniform_reward(group: ScoredGroup) -> str | None:
    """Drops groups whose rewards are all alike: every pooled advantage would be zero."""
    rewards = group.rewards()
    return UNIFORM_REWARD if np.ptp(rewards) < 1e-9 else None


def accuracy_out_of_bounds(low: float, high: float) -> Filter:
    """A filter that drops groups whose mean accuracy is below `low` or above `high`."""

    def check(group: ScoredGroup) -> str | None:
        accuracy = np.mean([one.accuracy for order in group.orders for one in order.rewards])
        return None if low <= accuracy <= high else ACCURACY_OUT_OF_BOUNDS

    return check


def build_filters(config: FilterConfig) -> list[Filter]:
    """The filters that a configuration asks for, in the order in which they are tried."""
    filters: list[Filter] = []
    if config.drop_uniform:
        filters.append(uniform_reward)
    if config.min_accuracy is not None or config.max_accuracy is not None:
        low = 0.0 if config.min_accuracy is None else config.min_accuracy
        high = 1.0 if config.max_accuracy is None else config.max_accuracy
        filters.append(accuracy_out_of_bounds(low, high))
    return filters


def reason_to_drop(group: ScoredGroup, filters: Sequence[Filter]) -> str | None:
    """The first filter's reason to drop the group; None when all keep it."""
    return next((reason for one in filters if (reason := one(group)) is not None), None)
