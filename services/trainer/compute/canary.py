"""The canary: a policy that sees its pictures must answer differently when they are exchanged.

The log-probabilities of a group's sampled responses are computed twice, once with the group's
pictures and once with other pictures of the same size, every token and position unchanged. A vision
tower whose features are lost, misplaced or ignored gives the same numbers twice.
"""

import logging
from dataclasses import replace

import torch
from torch import nn

from services.trainer.compute.checks import GuardStop
from services.trainer.compute.model import chunk_logprobs
from services.trainer.compute.packing import PackedBatch, PreparedGroup
from shared.config.guard import GuardConfig

logger = logging.getLogger(__name__)


def exchanged(group: PreparedGroup) -> PreparedGroup:
    """The same group with every picture turned into its negative, its patches in reverse order.

    Shapes and grids stay the same, and so do prompts, positions and the number of features. Each
    value is reflected about its picture's mean, so values stay in the processor's range.
    """
    start, parts = 0, []
    for patches in group.grid.prod(-1).tolist():
        picture = group.pixel_values[start : start + patches]
        parts.append(2 * picture.mean() - picture.flip(0))
        start += patches
    return replace(group, pixel_values=torch.cat(parts))


def has_pictures(group: PreparedGroup) -> bool:
    """Whether any prompt of the group shows a picture."""
    return any(order.images for order in group.orders)


def reaction(
    policy: nn.Module, batches: list[PackedBatch], others: list[PackedBatch]
) -> tuple[float, int]:
    """Sum of the absolute changes of response tokens' log-probabilities, and the number of tokens.

    Args:
        policy: a `GroupModel`, or an engine around one.
        batches: a group packed; `others` the same group with its pictures exchanged.
    """
    total, tokens = 0.0, 0
    for batch, other in zip(batches, others, strict=True):
        seen, instead = (torch.cat(chunk_logprobs(policy, one)) for one in (batch, other))
        total, tokens = total + float((seen - instead).abs().sum()), tokens + len(seen)
    return total, tokens


def is_alarm(step: int, change: float, config: GuardConfig) -> bool:
    """Whether `change` is so small that it is an alarm; logs it if so.

    Raises:
        GuardStop: when it is below ``trainer.guard.canary_stop_below``.
    """
    finding = (
        f"step {step}: with other pictures the log-probabilities of sampled answers change by "
        f"{change:.3g} a token"
    )
    if config.canary_stop_below is not None and change < config.canary_stop_below:
        raise GuardStop(
            f"{finding} (trainer.guard.canary_stop_below {config.canary_stop_below:g}): the policy "
            "does not look at its pictures; check that the model's vision weights were loaded, "
            "that model.path is the instruction-tuned model, and that the questions need pictures"
        )
    if change >= config.canary_warn_below:
        return False
    logger.warning(
        "%s (trainer.guard.canary_warn_below %g): the policy hardly looks at its pictures",
        finding,
        config.canary_warn_below,
    )
    return True
