"""Attention inside the vision tower: within windows of a picture, or within whole pictures.

transformers' own path computes one window after another, some hundred calls for a large picture.
Here windows of equal size are computed together. transformers lets a caller precompute where the
windows are; it is told that there is a single one, and the attention that it then calls once for
all tokens, registered below, knows the real ones. Where a family has its windows, its file in
``families/`` says.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.utils import is_flash_attn_2_available
from transformers.vision_utils import get_vision_cu_seqlens

from shared.config import Config
from shared.errors import UserError

BATCHED = "batched_sequences"
"""What this attention is called in transformers' register."""


def chosen_vision_attention(config: Config, device: torch.device) -> str:
    """The kernel for the vision tower, by its name in transformers' register.

    Raises:
        UserError: when flash-attn was asked for and cannot be used.
    """
    named = config.trainer.vision_attention
    if named in ("auto", "flash"):
        missing = _lacks_for_flash(config, device)
        if not missing:
            return "flash_attention_2"
        if named == "flash":
            raise UserError(f"trainer.vision_attention: flash needs {missing}; set it to auto")
    return "sdpa" if named == "sdpa" else BATCHED


def _lacks_for_flash(config: Config, device: torch.device) -> str:
    if device.type != "cuda":
        return "a GPU"
    if config.model.dtype != "bfloat16":
        return "model.dtype: bfloat16"
    return "" if is_flash_attn_2_available() else "the flash-attn package (make setup FLASH_ATTN=1)"


@dataclass(frozen=True)
class Sequences:
    """N tokens in sequences side by side, sorted so that those of equal length are neighbours."""

    order: torch.Tensor
    """(N,) int64 the place that each token comes from."""
    back: torch.Tensor
    """(N,) int64 the inverse."""
    batches: tuple[tuple[int, int], ...]
    """For each length that occurs, how many sequences have it, and the length."""

    @staticmethod
    def between(bounds: torch.Tensor, device: torch.device) -> "Sequences":
        """Args:
        bounds: (S + 1,) where each of S sequences starts, and the last one's end.
        """
        bounds = bounds.cpu()
        lengths = bounds.diff()
        of_token = torch.repeat_interleave(lengths, lengths)
        order = of_token.argsort(stable=True)
        counts = sorted(Counter(lengths.tolist()).items())
        return Sequences(
            order=order.to(device),
            back=order.argsort().to(device),
            batches=tuple((count, length) for length, count in counts),
        )


@dataclass(frozen=True)
class VisionSequences:
    """What each layer's attention is confined to."""

    pictures: Sequences
    windows: Sequences
    whole: frozenset[nn.Module]
    """The attention modules that see whole pictures."""

    def of(self, attention: nn.Module) -> Sequences:
        """The sequences of one layer's attention module."""
        return self.pictures if attention in self.whole else self.windows


def picture_inputs(grid: torch.Tensor) -> dict[str, Any]:
    """The inputs for a vision tower without windows, to compute pictures of equal size together.

    Args:
        grid: (images, 3) patches in time, height and width.
    """
    bounds = get_vision_cu_seqlens(grid.cpu())
    pictures = Sequences.between(bounds, grid.device)
    # On the CPU, where the tower reads the lengths; a copy from the GPU would wait for it.
    single = bounds[[0, -1]]
    return {"cu_seqlens": single, "sequences": VisionSequences(pictures, pictures, frozenset())}


def _batched(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    sequences: VisionSequences,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface, for (1, H, N, D) queries, keys and values."""
    layer = sequences.of(module)
    sorted_ones = [one[0].index_select(1, layer.order) for one in (query, key, value)]
    found, start = [], 0
    for count, length in layer.batches:
        end = start + count * length
        q, k, v = (
            one[:, start:end].unflatten(1, (count, length)).transpose(0, 1) for one in sorted_ones
        )
        seen = scaled_dot_product_attention(q, k, v, scale=scaling)
        found.append(seen.transpose(1, 2).flatten(0, 1))
        start = end
    return torch.cat(found).index_select(0, layer.back)[None], None


AttentionInterface.register(BATCHED, _batched)
