"""Training on a part of a group's responses: the subset whose rewards vary most.

PODS (policy optimization with down-sampling, arXiv 2504.13818): sampling is cheap and parallel,
training is not, so many responses are sampled and the most telling ones trained on.
"""

import numpy as np

from shared.messages import ScoredGroup, ScoredOrder


def select(group: ScoredGroup, keep: int) -> ScoredGroup:
    """The group with the `keep` responses of most reward variance, over all orders together.

    Orders that are left without a response are left out. Among equal rewards no order is
    preferred: the first responses of all orders come before their second ones.
    """
    places = [
        (number, index)
        for number, order in enumerate(group.orders)
        for index in range(len(order.rewards))
    ]
    if keep >= len(places):
        return group
    places.sort(key=lambda place: place[::-1])
    rewards = np.array([group.orders[number].rewards[index].total for number, index in places])
    kept = {places[one] for one in max_variance_subset(rewards, keep)}
    orders = [
        _only(order, [index for index in range(len(order.rewards)) if (number, index) in kept])
        for number, order in enumerate(group.orders)
    ]
    return group.model_copy(update={"orders": tuple(one for one in orders if one.rewards)})


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
