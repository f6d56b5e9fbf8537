"""Batches for tests of the loss alone: no rows, no pictures, double precision."""

from collections.abc import Sequence

import torch

from services.trainer.compute.packing import PackedBatch


def loss_batch(
    old: Sequence[float],
    response: Sequence[int],
    advantages: Sequence[float],
    current: Sequence[bool] | None = None,
    truncated: Sequence[bool] | None = None,
    dtype: torch.dtype = torch.float64,
) -> PackedBatch:
    """Responses with these log-probabilities of the sampler.

    Args:
        old: of each token.
        response: the number of each token's response.
        advantages: of each response.
        current: of each token; default: none is.
        truncated: of each response; default: none is.
    """
    owner = torch.tensor(response)
    return PackedBatch(
        pixel_values=torch.empty(0),
        grid=torch.empty(0),
        chunks=[],
        old_logprobs=torch.tensor(old, dtype=dtype),
        current=torch.tensor(current or [False] * len(old)),
        response=owner,
        lengths=torch.bincount(owner).to(dtype),
        advantages=torch.tensor(advantages, dtype=dtype),
        truncated=torch.tensor(truncated or [False] * len(advantages)),
    )
