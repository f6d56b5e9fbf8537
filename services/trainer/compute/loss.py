"""The objective on a packed batch: PeRL's (arXiv 2506.14907, equation 3) and its relatives."""

import math
from dataclasses import dataclass

import torch

from services.trainer.compute.importance import LOG_BOUND, importance_weights, per_response
from services.trainer.compute.packing import PackedBatch
from shared.config import ObjectiveConfig

SEQUENCE_LOG_BOUND = 10.0
"""Upper bound of the logarithm of a response's ratio (GSPO), as in verl."""


@dataclass
class LossSums:
    """A step's figures as sums over responses or tokens, so that ranks can add them up."""

    loss: float = 0.0
    kl: float = 0.0
    clipped: float = 0.0
    surprise: float = 0.0
    """Sum of the sampler's -log p, an unbiased estimate of the entropy."""
    tokens: float = 0.0
    responses: float = 0.0
    mismatch_abs: float = 0.0
    mismatch_kl: float = 0.0
    mismatch_tokens: float = 0.0
    """Tokens sampled by the same policy version that computed the log-probabilities here."""
    importance: float = 0.0
    """Sum of the importance weights, within their bounds."""
    importance_outside: float = 0.0
    """Tokens whose importance weight was beyond a bound."""

    def add(self, other: "LossSums") -> None:
        """Add another batch's sums."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def policy_loss(
    logprobs: torch.Tensor,
    reference: torch.Tensor | None,
    batch: PackedBatch,
    objective: ObjectiveConfig,
    max_tokens: int,
    proximal: torch.Tensor | None = None,
    mean_weight: float = 1.0,
) -> tuple[torch.Tensor, LossSums]:
    """The loss summed over the batch; divide it by the `normaliser` of the whole update.

    A token's gain is ``w * min(r A, clip(r, 1 - low, 1 + high) A) - beta * kl``, with the switches
    of `ObjectiveConfig`; docs/objectives.md has the formulas. Logarithms of ratios are bounded
    before ``exp``, so a ratio is finite, and so is its gradient. A sum that is not finite has NaN
    gradients throughout, which no update applies.

    Args:
        logprobs: (T,) of the policy that is trained.
        reference: (T,) of the frozen start model; None when ``kl_coef`` is 0.
        max_tokens: the longest response, for ``aggregate: constant_length``.
        proximal: (T,) the trainer's own log-probabilities before the step's first update, where the
            ratio is taken to these rather than to the sampler's.
        mean_weight: of the update's importance weights, for ``importance_normalise``.

    Returns:
        The scalar sum and the figures to report.
    """
    old = batch.old_logprobs if proximal is None else proximal
    ratio = _ratio(logprobs - old, batch, objective)
    advantage = batch.advantages[batch.response]
    gain, clipped = _clipped_gain(ratio, advantage, logprobs, objective)
    figures = LossSums(clipped=float(clipped.sum()))
    if proximal is not None and objective.importance_weighted:
        weights, outside = importance_weights(proximal, batch, objective)
        gain = gain * (weights / mean_weight)
        figures.importance = float(weights.sum())
        figures.importance_outside = float(outside.sum())
    kl = torch.zeros_like(logprobs)
    if reference is not None:
        kl = _kl(reference - logprobs, objective)
    share = _shares(batch, objective, max_tokens)
    loss = -((gain - objective.kl_coef * kl) * share).sum()
    figures.loss, figures.kl = float(loss.detach()), float(kl.detach().sum())
    _describe(figures, logprobs.detach() - batch.old_logprobs, batch)
    if not math.isfinite(figures.loss):
        # A clamp has no gradient beyond its bounds, nor at NaN: the gradient might be finite.
        loss = math.nan * logprobs.sum()
    return loss, figures


def normaliser(responses: float, tokens: float, objective: ObjectiveConfig) -> float:
    """What the summed loss of one update is divided by.

    Args:
        responses: in all batches of the update, on all ranks.
        tokens: of those responses.
    """
    return tokens if objective.aggregate == "token_mean" else responses


def _ratio(log_ratio: torch.Tensor, batch: PackedBatch, objective: ObjectiveConfig) -> torch.Tensor:
    """(T,) importance ratio of each token, or of its whole response (GSPO, equation 7)."""
    if objective.ratio == "token":
        return log_ratio.clamp(-LOG_BOUND, LOG_BOUND).exp()
    means = per_response(log_ratio, batch) / batch.lengths
    return means.clamp(max=SEQUENCE_LOG_BOUND).exp()[batch.response]


def _clipped_gain(
    ratio: torch.Tensor, advantage: torch.Tensor, logprobs: torch.Tensor, objective: ObjectiveConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) the clipped gain, and which tokens were clipped."""
    low = None if objective.clip_low is None else 1 - objective.clip_low
    high = None if objective.clip_high is None else 1 + objective.clip_high
    bounded = ratio if low is None and high is None else ratio.clamp(low, high)
    if objective.surrogate == "cispo":
        # A clipped token keeps its gradient, with a bounded weight (arXiv 2506.13585, equation 4).
        return bounded.detach() * advantage * logprobs, bounded != ratio
    gain = torch.minimum(ratio * advantage, bounded * advantage)
    clipped = bounded * advantage < ratio * advantage
    if objective.dual_clip is not None:
        # Keeps a bad response that became far more likely from dominating (arXiv 1912.09729).
        floor = objective.dual_clip * advantage
        clipped = clipped | ((advantage < 0) & (floor > gain))
        gain = torch.where(advantage < 0, torch.maximum(gain, floor), gain)
    return gain, clipped


def _kl(difference: torch.Tensor, objective: ObjectiveConfig) -> torch.Tensor:
    """(T,) estimate of KL(policy || reference) from ``reference - logprob`` (Schulman, 2020)."""
    if objective.kl == "k1":
        estimate = -difference
    elif objective.kl == "k2":
        estimate = difference.square() / 2
    else:
        estimate = _k3(difference)
    if objective.kl_clamp is None:
        return estimate
    return estimate.clamp(-objective.kl_clamp, objective.kl_clamp)


def _k3(difference: torch.Tensor) -> torch.Tensor:
    bounded = difference.clamp(-LOG_BOUND, LOG_BOUND)
    return bounded.exp() - bounded - 1


def _shares(batch: PackedBatch, objective: ObjectiveConfig, max_tokens: int) -> torch.Tensor:
    """(T,) weight of each token in the sum, 0 for tokens of masked responses."""
    if objective.aggregate == "response_mean":
        shares = 1.0 / batch.lengths
    else:
        length = max_tokens if objective.aggregate == "constant_length" else 1
        shares = torch.full_like(batch.lengths, 1.0 / length)
    if objective.mask_truncated:
        shares = shares.masked_fill(batch.truncated, 0.0)
    return shares[batch.response]


def _describe(figures: LossSums, log_ratio: torch.Tensor, batch: PackedBatch) -> None:
    """Add what the objective does not change: counts, entropy, mismatch with the sampler.

    Args:
        log_ratio: (T,) trainer's minus sampler's log-probability.
    """
    same = log_ratio[batch.current]
    figures.surprise = float(-batch.old_logprobs.sum())
    figures.tokens, figures.responses = float(len(log_ratio)), float(len(batch.lengths))
    figures.mismatch_abs = float(same.abs().sum())
    # k3 of KL(sampler || trainer), on tokens the sampler drew.
    figures.mismatch_kl = float(_k3(same).sum())
    figures.mismatch_tokens = float(len(same))
