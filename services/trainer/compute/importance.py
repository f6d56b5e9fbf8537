"""Importance weights that correct the mismatch between sampler and trainer.

The tokens were drawn by the sampler's engine; the trainer's own log-probabilities of the same
tokens differ, because its kernels differ and because its weights may be newer. Each token's gain is
multiplied by ``w = p_trainer / p_sampler``, bounded on one side or on both. docs/objectives.md
names the methods that the switches make.
"""

import torch

from services.trainer.compute.packing import PackedBatch
from shared.config import ObjectiveConfig

LOG_BOUND = 20.0
"""Logarithms of ratios are clamped to this on both sides before ``exp``, as verl does: in float32
the exponential of 89 is infinite, and its gradient NaN even where the value is clipped away."""


@torch.no_grad()
def importance_weights(
    proximal: torch.Tensor, batch: PackedBatch, objective: ObjectiveConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each token's importance weight within the bounds, before ``importance_normalise``.

    Args:
        proximal: (T,) the trainer's own log-probabilities before the step's first update.

    Returns:
        (T,) weights, and (T,) bool: which of them were beyond a bound.
    """
    log_weights = proximal - batch.old_logprobs
    if objective.importance_level == "sequence":
        log_weights = per_response(log_weights, batch)[batch.response]
    weights = log_weights.clamp(-LOG_BOUND, LOG_BOUND).exp()
    within = weights.clamp(objective.importance_floor, objective.importance_cap)
    outside = within != weights
    if objective.importance_outside == "mask":
        within = weights.masked_fill(outside, 0.0)
    return within, outside


def mean_terms(
    weights: torch.Tensor, batch: PackedBatch, objective: ObjectiveConfig
) -> tuple[float, float]:
    """The sum and the number of a batch's weights: one a token, or one a response.

    Args:
        weights: (T,) of `importance_weights`.
    """
    if objective.importance_level == "sequence":
        means = per_response(weights, batch) / batch.lengths
        return float(means.sum()), float(len(means))
    return float(weights.sum()), float(len(weights))


def per_response(values: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """(S,) sums of the tokens' `values`, (T,), over each response."""
    totals = torch.zeros_like(batch.lengths, dtype=values.dtype)
    return totals.index_add(0, batch.response, values)
