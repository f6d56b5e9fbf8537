"""Training on a part of a group's responses: the subset whose rewards vary most.

PODS (policy optimization with down-sampling, arXiv 2504.13818): sampling is cheap and parallel and
training is not, so many responses are sampled and only the most informative ones are trained.
"""

from itertools import chain

import numpy as np

from shared.wire.messages import ScoredGroup, ScoredOrder

Place = tuple[int, int]
"""A response: the number of its order in the group, and its own number in that order."""


def select(group: ScoredGroup, keep: int, within_orders: bool = False) -> ScoredGroup:
    """The group with only the `keep` responses whose rewards vary most.

    They are chosen over all orders together, and an order without any is left out. With
    `within_orders` each order keeps as many, for advantages that compare within orders: there the
    best of one order and the worst of another would carry no signal.
    """
    kept = selected_places(group, keep, within_orders)
    if len(kept) == sum(len(order.rewards) for order in group.orders):
        return group
    orders = [
        _only(order, [index for index in range(len(order.rewards)) if (number, index) in kept])
        for number, order in enumerate(group.orders)
    ]
    return group.model_copy(update={"orders": tuple(one for one in orders if one.rewards)})


def selected_places(group: ScoredGroup, keep: int, within_orders: bool = False) -> set[Place]:
    """Where the responses are that `select` keeps."""
    by_order = [
        [(number, index) for index in range(len(order.rewards))]
        for number, order in enumerate(group.orders)
    ]
    if keep >= sum(map(len, by_order)):
        return set(chain(*by_order))
    pools, each = [list(chain(*by_order))], keep
    if within_orders:
        pools, each = by_order, keep // len(by_order)
    return {place for pool in pools for place in _chosen(group, pool, each)}


def _chosen(group: ScoredGroup, pool: list[Place], keep: int) -> list[Place]:
    """Ties prefer no order: the first responses of all orders come before the second ones."""
    places = sorted(pool, key=lambda place: place[::-1])
    rewards = np.array([group.orders[number].rewards[index].total for number, index in places])
    return [places[one] for one in max_variance_subset(rewards, keep)]


def max_variance_subset(rewards: np.ndarray, keep: int) -> np.ndarray:
    """Indices of the `keep` rewards with the largest variance, exactly.

    The best subset is the lowest k and the highest ``keep - k`` rewards for some k (theorem 1 of
    the paper), so one sort and ``keep + 1`` variances find it.

    Args:
        rewards: (S,), S at least `keep`.

    Returns:
        (keep,) int64.
    """
    order = np.argsort(rewards, kind="stable")
    lowest, highest = np.arange(keep), np.arange(len(rewards) - keep, len(rewards))
    splits = [order[np.concatenate([lowest[:low], highest[low:]])] for low in range(keep + 1)]
    return max(splits, key=lambda split: float(np.var(rewards[split])))


def _only(order: ScoredOrder, indices: list[int]) -> ScoredOrder:
    responses = tuple(order.batch.responses[index] for index in indices)
    return order.model_copy(
        update={
            "batch": order.batch.model_copy(update={"responses": responses}),
            "rewards": tuple(order.rewards[index] for index in indices),
        }
    )
