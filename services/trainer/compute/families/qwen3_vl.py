"""Qwen3-VL (arXiv 2511.21631): DeepStack adds features of several vision layers to the language
model's first layers; the vision tower sees whole pictures."""

from typing import Any

import torch

from services.trainer.compute.families.base import Family
from services.trainer.compute.packing import RowChunk


class Qwen3VL(Family):
    """As the base, with DeepStack (arXiv 2406.04334)."""

    def encode(self, pixel_values: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """For each image its (f, (1 + K) D) features: the input's, then those of K layers."""
        output = self._encoded(pixel_values, grid)
        levels = [output.pooler_output, *output.deepstack_features]
        return tuple(torch.cat(of_image, dim=-1) for of_image in zip(*levels, strict=True))

    def _with_features(
        self, embeddings: torch.Tensor, shown: torch.Tensor, chunk: RowChunk
    ) -> dict[str, Any]:
        inputs, *deeper = shown.split(embeddings.shape[-1], dim=-1)
        # transformers takes the marked places row by row, which is the features' order.
        marked = torch.zeros_like(chunk.input_ids, dtype=torch.bool)
        marked[chunk.feature_rows, chunk.feature_columns] = True
        return super()._with_features(embeddings, inputs, chunk) | {
            "visual_pos_masks": marked,
            "deepstack_visual_embeds": deeper,
        }
