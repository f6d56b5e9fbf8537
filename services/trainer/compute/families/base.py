"""What the trainer computes differently for each model family, and what all families share.

One file beside this one for each family; `family_of` in ``__init__.py`` chooses by the model.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from services.trainer.compute.checks import check_features_fit
from services.trainer.compute.packing import RowChunk
from services.trainer.compute.vision import BATCHED, picture_inputs


class Family:
    """A model with a vision tower whose features take the places of a prompt's image tokens.

    Positions are M-RoPE's: (3, ...) in time, height and width; text counts on alike in all three.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model: Any = model
        self.image_token: int = model.config.image_token_id
        """The token that stands for one image feature."""
        self.merge: int = model.config.vision_config.spatial_merge_size
        """Patches along each side that become one feature."""

    @property
    def visual(self) -> nn.Module:
        """The vision tower."""
        tower: nn.Module = self._model.model.visual
        return tower

    def positions(self, prompt_ids: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        """(3, P) int64 positions of a prompt; a response goes on after the largest.

        Args:
            prompt_ids: (P,) int64, image placeholders expanded.
            grid: (images, 3) patches in time, height and width of the images it shows.
        """
        ids = prompt_ids[None]
        positions, _ = self._model.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == self.image_token).int(),
            image_grid_thw=grid if len(grid) else None,
        )
        found: torch.Tensor = positions[:, 0]
        return found

    def encode(self, pixel_values: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """For each image its (f, W) features, all that the language model reads of it."""
        return tuple(self._encoded(pixel_values, grid).pooler_output)

    def _encoded(self, pixel_values: torch.Tensor, grid: torch.Tensor) -> Any:
        """transformers' output for the images."""
        inputs = self.vision_inputs(grid)
        return self._model.model.get_image_features(pixel_values, grid, return_dict=True, **inputs)

    def vision_inputs(self, grid: torch.Tensor) -> dict[str, Any]:
        """What to give the vision tower beside its pixels, so that it computes in batches."""
        tower: Any = self.visual
        if tower.config._attn_implementation != BATCHED:
            return {}
        return self._batched_inputs(tower, grid)

    def _batched_inputs(self, tower: Any, grid: torch.Tensor) -> dict[str, Any]:
        return picture_inputs(grid)

    def hidden(self, chunk: RowChunk, shown: torch.Tensor | None, mask: Any) -> torch.Tensor:
        """(R, L, D) last hidden states of the language model.

        Args:
            shown: (F, W) features of all images that the rows show, in the rows' order; None when
                they show none.
            mask: of the rows, as the attention kernel takes it.
        """
        inputs = {"inputs_embeds": self._model.get_input_embeddings()(chunk.input_ids)}
        if shown is not None:
            check_features_fit(len(shown), len(chunk.feature_columns))
            inputs = self._with_features(inputs["inputs_embeds"], shown, chunk)
        output = self._model.model.language_model(
            position_ids=chunk.positions, attention_mask=mask, use_cache=False, **inputs
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def _with_features(
        self, embeddings: torch.Tensor, shown: torch.Tensor, chunk: RowChunk
    ) -> dict[str, Any]:
        """The language model's inputs, the features in their places."""
        # Placed by column rather than by token id: a response may contain the image token.
        where = (chunk.feature_rows, chunk.feature_columns)
        return {"inputs_embeds": embeddings.index_put(where, shown.to(embeddings.dtype))}
