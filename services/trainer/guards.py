"""Guards against silent blindness: what is checked before a group may change the policy.

The token ids of prompts are compared where groups are prepared (``preparing.py``). Here are the
checks of a group's numbers, and the watch over log-probabilities, step after step.
"""

import logging
import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from shared.config.guard import GuardConfig
from shared.errors import UserError
from shared.messages import MalformedMessage, ScoredGroup, ScoredOrder

logger = logging.getLogger(__name__)


class GuardStop(UserError):
    """A guard ends the run: training on would use answers to other questions than were asked."""


def admitted(group: ScoredGroup) -> ScoredGroup:
    """The group itself, when it can be trained on.

    Raises:
        MalformedMessage: when it is empty, or a log-probability or reward is no finite number.
    """
    if not group.orders:
        raise MalformedMessage("ScoredGroup, field 'orders': there is none")
    for index, order in enumerate(group.orders):
        if not order.batch.responses:
            raise MalformedMessage(f"ScoredGroup, order {index}: it has no responses")
        for number, response in enumerate(order.batch.responses):
            where = f"ScoredGroup, order {index}, response {number}"
            if len(response.token_ids) == 0:
                raise MalformedMessage(f"{where}: it has no tokens")
            if not np.isfinite(response.logprobs).all() or (response.logprobs > 1e-3).any():
                raise MalformedMessage(f"{where}: a log-probability is not finite and at most 0")
            if not math.isfinite(order.rewards[number].total):
                raise MalformedMessage(f"{where}: its reward is not finite")
    return group


def check_vocabulary(order: ScoredOrder, size: int) -> None:
    """Refuse sampled tokens that the trainer's model, of `size` tokens, does not have.

    Raises:
        GuardStop: naming group, node and token.
    """
    for response in order.batch.responses:
        strange = response.token_ids[(response.token_ids < 0) | (response.token_ids >= size)]
        if len(strange):
            raise GuardStop(
                f"group {order.batch.task.group_id}: node {order.batch.node} sampled token "
                f"{strange[0]}, the trainer's model has {size}; give both the same model folder"
            )


def check_grids(order: ScoredOrder, ours: list[list[int]]) -> None:
    """Sampler and trainer cut each picture into the same patches, rows and columns alike.

    Equal token ids do not say so: a picture of 2 x 8 patches has as many tokens as one of 4 x 4,
    and other positions.

    Args:
        ours: (images, 3) patches in time, height and width, of the order's images.

    Raises:
        GuardStop: naming group, node, image and both grids.
    """
    task = order.batch.task
    for place, (theirs, own) in enumerate(zip(order.batch.image_grids, ours, strict=True)):
        if list(theirs) != own:
            raise GuardStop(
                f"group {task.group_id}, order {task.order_index}: node {order.batch.node} cut "
                f"image {place + 1} into {_product(theirs)} patches, the trainer into "
                f"{_product(own)}; give both the same model folder, model.min_pixels and "
                "model.max_pixels, and the same release"
            )


def _product(grid: Sequence[int]) -> str:
    return "x".join(map(str, grid))


def check_features(group_id: str, grid_patches: list[int], patches: int) -> None:
    """The pixels have as many patches as the images' grids say: each becomes a feature's part.

    Args:
        grid_patches: patches of each distinct image, from its grid; prompt tokens follow from it.
        patches: rows of the pixel values.

    Raises:
        GuardStop: when they differ.
    """
    if sum(grid_patches) != patches:
        raise GuardStop(
            f"group {group_id}: the grids of {len(grid_patches)} images have {sum(grid_patches)} "
            f"patches, their pixels {patches}; the processor in model.path is not the model's own"
        )


def check_features_fit(features: int, columns: int) -> None:
    """As many image features as the prompts have image tokens: one would fill any number of them.

    Raises:
        GuardStop: when they differ.
    """
    if features != columns:
        raise GuardStop(
            f"the vision tower gave {features} features for {columns} image tokens; the model in "
            "model.path and its processor do not belong together"
        )


class MismatchGuard:
    """Watches how far the trainer's log-probabilities are from the sampler's.

    Only tokens count that were sampled by the very version that computes them here, so the
    difference is numerical noise unless weights, pixels or prompts differ.
    """

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._recent: deque[float] = deque(maxlen=config.window)

    def watch(self, step: int, mismatch: float | None) -> bool:
        """Take note of one step's mean absolute difference; True when it is an alarm.

        Args:
            mismatch: None when the step had no token of its own version.

        Raises:
            GuardStop: when the mean over ``trainer.guard.window`` such steps is too large.
        """
        if mismatch is None:
            return False
        config = self._config
        self._recent.append(mismatch if math.isfinite(mismatch) else math.inf)
        mean = sum(self._recent) / len(self._recent)
        full = len(self._recent) == config.window
        if full and config.mismatch_stop_above is not None and mean > config.mismatch_stop_above:
            raise GuardStop(
                f"step {step}: log-probabilities of trainer and sampler differ by {mean:.3g} a "
                f"token over {config.window} steps (trainer.guard.mismatch_stop_above "
                f"{config.mismatch_stop_above:g}); check that every rollout node has the trainer's "
                "model folder, model.dtype, model.min_pixels and model.max_pixels, and loads the "
                "published weights (perl-rl status shows versions)"
            )
        if mismatch <= config.mismatch_warn_above:
            return False
        logger.warning(
            "step %d: log-probabilities of trainer and sampler differ by %.3g a token "
            "(trainer.guard.mismatch_warn_above %g): do both have the same weights and pixels?",
            step,
            mismatch,
            config.mismatch_warn_above,
        )
        return True
