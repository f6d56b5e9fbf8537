"""The objective on a packed batch: PeRL's (arXiv 2506.14907, equation 3) and its relatives."""

from dataclasses import dataclass

import torch

from services.trainer.compute.packing import ResponseTokens
from shared.config import ObjectiveConfig


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

    def add(self, other: "LossSums") -> None:
        """Add another batch's sums."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def policy_loss(
    logprobs: torch.Tensor,
    reference: torch.Tensor | None,
    batch: ResponseTokens,
    objective: ObjectiveConfig,
    max_tokens: int,
    proximal: torch.Tensor | None = None,
) -> tuple[torch.Tensor, LossSums]:
    """The loss summed over the batch; divide it by the `normaliser` of the whole update.

    A token's gain is ``w * min(r A, clip(r, 1 - low, 1 + high) A) - beta * kl``, with the switches
    of `ObjectiveConfig`; docs/objectives.md has the formulas.

    Args:
        logprobs: (T,) of the policy that is trained.
        reference: (T,) of the frozen start model; None when ``kl_coef`` is 0.
        max_tokens: the longest response, for ``aggregate: constant_length``.
        proximal: (T,) the trainer's own log-probabilities before the step's first update, where the
            ratio is taken to these rather than to the sampler's.

    Returns:
        The scalar sum and the figures to report.
    """
    old = batch.old_logprobs if proximal is None else proximal
    ratio = _ratio(logprobs - old, batch, objective)
    advantage = batch.advantages[batch.response]
    gain, clipped = _clipped_gain(ratio, advantage, objective)
    if proximal is not None and objective.importance_cap is not None:
        gain = gain * (proximal - batch.old_logprobs).exp().clamp(max=objective.importance_cap)
    kl = torch.zeros_like(logprobs)
    if reference is not None:
        kl = _kl(reference - logprobs, objective)
    weight = _token_weights(batch, objective, max_tokens)
    loss = -((gain - objective.kl_coef * kl) * weight).sum()
    return loss, _sums(loss, logprobs - batch.old_logprobs, clipped, kl, batch)


def normaliser(responses: float, tokens: float, objective: ObjectiveConfig) -> float:
    """What the summed loss of one update is divided by.

    Args:
        responses: in all batches of the update, on all ranks.
        tokens: of those responses.
    """
    return tokens if objective.aggregate == "token_mean" else responses


def _ratio(
    log_ratio: torch.Tensor, batch: ResponseTokens, objective: ObjectiveConfig
) -> torch.Tensor:
    """(T,) importance ratio of each token, or of its whole response (GSPO, equation 7)."""
    if objective.ratio == "token":
        return log_ratio.exp()
    totals = torch.zeros_like(batch.lengths, dtype=log_ratio.dtype)
    means = totals.index_add(0, batch.response, log_ratio) / batch.lengths
    return means.exp()[batch.response]


def _clipped_gain(
    ratio: torch.Tensor, advantage: torch.Tensor, objective: ObjectiveConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) the clipped gain, and which tokens were clipped."""
    low = None if objective.clip_low is None else 1 - objective.clip_low
    high = None if objective.clip_high is None else 1 + objective.clip_high
    bounded = ratio if low is None and high is None else ratio.clamp(low, high)
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
        return -difference
    if objective.kl == "k2":
        return difference.square() / 2
    return difference.exp() - difference - 1


def _token_weights(
    batch: ResponseTokens, objective: ObjectiveConfig, max_tokens: int
) -> torch.Tensor:
    """(T,) or scalar weight of each token in the sum."""
    if objective.aggregate == "response_mean":
        return 1.0 / batch.lengths[batch.response]
    length = max_tokens if objective.aggregate == "constant_length" else 1
    return torch.tensor(1.0 / length, device=batch.lengths.device)


@torch.no_grad()
def _sums(
    loss: torch.Tensor,
    log_ratio: torch.Tensor,
    clipped: torch.Tensor,
    kl: torch.Tensor,
    batch: ResponseTokens,
) -> LossSums:
    same = log_ratio[batch.current]
    return LossSums(
        loss=float(loss),
        kl=float(kl.sum()),
        clipped=float(clipped.sum()),
        surprise=float(-batch.old_logprobs.sum()),
        tokens=float(len(log_ratio)),
        responses=float(len(batch.lengths)),
        mismatch_abs=float(same.abs().sum()),
        # k3 of KL(sampler || trainer), on tokens the sampler drew.
        mismatch_kl=float((same.exp() - same - 1).sum()),
        mismatch_tokens=float(len(same)),
    )
