"""Advantages of a group's responses: which rewards each is compared with, and how they are scaled.

PeRL pools the rewards over all orders of a group and scales by the population standard deviation
(arXiv 2506.14907, section 3); docs/objectives.md has the others.
"""

from collections.abc import Sequence

import numpy as np

from shared.config import ObjectiveConfig


def group_advantages(rewards: Sequence[np.ndarray], objective: ObjectiveConfig) -> np.ndarray:
    """Advantages of all responses of a group.

    Args:
        rewards: for each order, (n,) total reward of each response.

    Returns:
        (S,) float64, order by order.
    """
    pooled = _compared(np.concatenate(rewards), objective)
    if objective.advantage == "pooled":
        return pooled
    own = np.concatenate([_compared(one, objective) for one in rewards])
    if objective.advantage == "per_order":
        return own
    weight = objective.per_order_weight
    return weight * own + (1 - weight) * pooled


def _compared(rewards: np.ndarray, objective: ObjectiveConfig) -> np.ndarray:
    """``(r - baseline) / (std + eps)`` among these rewards; 0 where there is only one."""
    count = len(rewards)
    if count < 2:
        return np.zeros(count)
    centred = rewards - rewards.mean()
    if objective.baseline == "leave_one_out":
        # r - mean of the others
        centred = centred * count / (count - 1)
    if objective.normalise == "none":
        return centred
    deviation = rewards.std(ddof=1 if objective.normalise == "sample" else 0)
    return centred / (deviation + objective.advantage_eps)
