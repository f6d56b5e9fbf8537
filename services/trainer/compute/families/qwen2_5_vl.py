"""Qwen2.5-VL (arXiv 2502.13923): most layers of its vision tower see windows of a picture."""

from typing import Any

import torch
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_window_index

from services.trainer.compute.families.base import Family
from services.trainer.compute.vision import Sequences, VisionSequences


class Qwen2_5VL(Family):
    """As the base, with windows."""

    def _batched_inputs(self, tower: Any, grid: torch.Tensor) -> dict[str, Any]:
        return window_inputs(tower, grid)


def window_inputs(tower: Any, grid: torch.Tensor) -> dict[str, Any]:
    """The inputs for a vision tower that computes windows of equal size together.

    Args:
        grid: (images, 3) patches in time, height and width.
    """
    config = tower.config
    window_index, bounds = get_vision_window_index(
        grid.cpu(), config.spatial_merge_size, config.window_size, config.patch_size
    )
    whole = frozenset(tower.blocks[index].attn for index in config.fullatt_block_indexes)
    pictures = Sequences.between(get_vision_cu_seqlens(grid.cpu()), grid.device)
    # On the CPU, where the tower reads the lengths; a copy from the GPU would wait for it.
    single = bounds[[0, -1]]
    return {
        "window_index": window_index.to(grid.device),
        "cu_window_seqlens": single,
        "cu_seqlens": single,
        "sequences": VisionSequences(pictures, Sequences.between(bounds, grid.device), whole),
    }
