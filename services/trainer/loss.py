"""PeRL's objective on a packed batch (arXiv 2506.14907, equation 3; GRPO, arXiv 2402.03300)."""

from dataclasses import dataclass

import torch

from services.trainer.packing import PackedBatch
from shared.config import ObjectiveConfig


@dataclass
class LossSums:
    """What a step reports, as sums over responses or tokens, so that ranks can add them up."""

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
    """Tokens sampled by the very version that computed the log-probabilities here."""

    def add(self, other: "LossSums") -> None:
        """Add another batch's sums."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def policy_loss(
    logprobs: torch.Tensor,
    reference: torch.Tensor | None,
    batch: PackedBatch,
    objective: ObjectiveConfig,
) -> tuple[torch.Tensor, LossSums]:
    """The loss summed over the batch's responses, each averaged over its own tokens.

    ``-mean_t[min(r A, clip(r, 1 - low, 1 + high) A) - beta * k3]`` with
    ``r = exp(logprob - old_logprob)`` and ``k3 = exp(ref - logprob) - (ref - logprob) - 1``
    (Schulman, 2020), which is unbiased for KL(policy || reference) and never negative.

    Args:
        logprobs: (T,) of the policy that is trained.
        reference: (T,) of the frozen start model; None when ``kl_coef`` is 0.

    Returns:
        The scalar sum over responses (divide by their number) and the figures to report.
    """
    log_ratio = logprobs - batch.old_logprobs
    ratio = log_ratio.exp()
    advantage = batch.advantages[batch.response]
    clipped = ratio.clamp(1 - objective.clip_low, 1 + objective.clip_high)
    gain = torch.minimum(ratio * advantage, clipped * advantage)
    kl = torch.zeros_like(logprobs)
    if reference is not None:
        difference = reference - logprobs
        kl = difference.exp() - difference - 1
    share = 1.0 / batch.lengths[batch.response]
    loss = -((gain - objective.kl_coef * kl) * share).sum()
    return loss, _sums(loss, log_ratio, clipped * advantage < ratio * advantage, kl, batch)


@torch.no_grad()
def _sums(
    loss: torch.Tensor,
    log_ratio: torch.Tensor,
    clipped: torch.Tensor,
    kl: torch.Tensor,
    batch: PackedBatch,
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
