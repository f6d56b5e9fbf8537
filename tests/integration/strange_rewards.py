"""A reward function whose numbers depend on the group, for tests of a real reward service."""

import math

from services.reward.scoring import RewardContext
from shared.wire.messages import PromptTask, Reward

NO_NUMBER = {2}
"""Groups with a reward that is NaN."""
TOO_LARGE = {6, *range(10, 14)}
"""Groups with a reward that float32 can hold, and whose gradient it cannot."""


def score(
    response: str, gold: str, kind: str, task: PromptTask | None, context: RewardContext
) -> Reward:
    """1 for a right answer, except in the groups above."""
    assert task is not None
    group, right = int(task.group_id.removeprefix("g")), response == f"\\boxed{{{gold}}}"
    total = float(right)
    if group in NO_NUMBER and right:
        total = math.nan
    if group in TOO_LARGE and right:
        total = 3e38
    return Reward(total=total, accuracy=float(right), format=0.0, extracted=None)


def always_too_large(
    response: str, gold: str, kind: str, task: PromptTask | None, context: RewardContext
) -> Reward:
    """A right answer's gradient is never finite."""
    right = response == f"\\boxed{{{gold}}}"
    return Reward(total=3e38 * right, accuracy=float(right), format=0.0, extracted=None)
