"""Which scored groups are worth training on: a filter keeps a group, or drops it for a reason.

The reason is recorded in the ledger and counted in the metrics. A custom filter is
``def f(group: ScoredGroup) -> str | None``, named in ``reward.filter.functions``.
"""

from collections.abc import Callable, Sequence

import numpy as np

from shared.config import FilterConfig
from shared.functions import load_function
from shared.wire.messages import ScoredGroup

UNIFORM_REWARD = "uniform_reward"
ACCURACY_OUT_OF_BOUNDS = "accuracy_out_of_bounds"
TOO_LITTLE_SPREAD = "too_little_spread"
TRUNCATED = "truncated"
TOO_FEW_DISTINCT = "too_few_distinct"

Filter = Callable[[ScoredGroup], str | None]
"""The reason to drop the group, or None to keep it."""

ARGUMENTS = ("group",)
"""What a filter is called with."""


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


def too_little_spread(min_std: float) -> Filter:
    """A filter that drops groups whose rewards have a standard deviation below `min_std`."""

    def check(group: ScoredGroup) -> str | None:
        return TOO_LITTLE_SPREAD if np.std(group.rewards()) < min_std else None

    return check


def truncated(max_share: float) -> Filter:
    """A filter that drops groups of whose responses more than `max_share` ended by length."""

    def check(group: ScoredGroup) -> str | None:
        ends = [one.finish_reason for order in group.orders for one in order.batch.responses]
        return TRUNCATED if ends.count("length") > max_share * len(ends) else None

    return check


def too_few_distinct(min_share: float) -> Filter:
    """A filter that drops groups with less than `min_share` distinct texts a response."""

    def check(group: ScoredGroup) -> str | None:
        texts = [one.text for order in group.orders for one in order.batch.responses]
        return TOO_FEW_DISTINCT if len(set(texts)) < min_share * len(texts) else None

    return check


def own_filter(path: str) -> Filter:
    """The filter at the dotted path `path`.

    Raises:
        UserError: when there is no such module or function.
    """
    function = load_function(path, "reward.filter.functions", ARGUMENTS)

    def check(group: ScoredGroup) -> str | None:
        reason = function(group)
        if reason is None or (isinstance(reason, str) and reason):
            return reason
        raise TypeError(f"reward.filter.functions '{path}' returned {reason!r}, no reason or None")

    return check


def uniform_in_every_order(group: ScoredGroup) -> str | None:
    """Drops groups whose rewards are alike within each order: every advantage that compares a
    response with its own order only would be zero."""
    alike = all(np.ptp(rewards) < 1e-9 for rewards in group.rewards_by_order())
    return UNIFORM_REWARD if alike else None


def build_filters(config: FilterConfig, per_order: bool = False) -> list[Filter]:
    """The filters that a configuration asks for, in the order in which they are tried.

    Args:
        per_order: whether responses are compared within their order only
            (``trainer.objective.advantage: per_order``).

    Raises:
        UserError: when a custom filter is not found.
    """
    filters: list[Filter] = []
    if config.drop_uniform:
        filters.append(uniform_in_every_order if per_order else uniform_reward)
    if config.min_accuracy is not None or config.max_accuracy is not None:
        low = 0.0 if config.min_accuracy is None else config.min_accuracy
        high = 1.0 if config.max_accuracy is None else config.max_accuracy
        filters.append(accuracy_out_of_bounds(low, high))
    if config.min_std is not None:
        filters.append(too_little_spread(config.min_std))
    if config.max_truncated is not None:
        filters.append(truncated(config.max_truncated))
    if config.min_distinct is not None:
        filters.append(too_few_distinct(config.min_distinct))
    return filters + [own_filter(path) for path in config.functions]


def reason_to_drop(group: ScoredGroup, filters: Sequence[Filter]) -> str | None:
    """The first filter's reason to drop the group; None when all keep it."""
    return next((reason for one in filters if (reason := one(group)) is not None), None)
