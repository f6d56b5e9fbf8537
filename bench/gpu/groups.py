"""Prepared groups of a given size, made up: random pixels, random tokens, real positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from services.trainer.compute.families import family_of
from services.trainer.compute.packing import PackedResponse, PreparedGroup, PreparedOrder


@dataclass(frozen=True)
class GroupSize:
    """How large a made-up group is."""

    images: int
    patches: int
    """Patches along each side of every image; a multiple of what the vision tower merges."""
    text: int
    """Tokens of a prompt beside its images' features."""
    responses: Sequence[int]
    """Tokens of each response of an order."""
    orders: int = 2

    def row_tokens(self, merge: int) -> int:
        """Tokens of one order's row, where the vision tower merges `merge` patches along a side."""
        return self.images * (self.patches // merge) ** 2 + self.text + sum(self.responses)


def made_up_group(model: Any, size: GroupSize, seed: int = 0) -> PreparedGroup:
    """A group for `model`, the same for the same seed."""
    rng = np.random.default_rng(seed)
    vision = model.config.vision_config
    grid = torch.tensor([[1, size.patches, size.patches]] * size.images)
    width = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.from_numpy(
        rng.standard_normal((size.images * size.patches**2, width), dtype=np.float32)
    )
    orders = [_order(model, size, grid, shift, rng) for shift in range(size.orders)]
    return PreparedGroup(pixel_values=pixels, grid=grid, orders=tuple(orders))


def _order(
    model: Any, size: GroupSize, grid: torch.Tensor, shift: int, rng: np.random.Generator
) -> PreparedOrder:
    image_token = model.config.image_token_id
    features = [image_token] * (size.patches // model.config.vision_config.spatial_merge_size) ** 2
    # Ordinary tokens: special ones have the highest ids.
    words = rng.integers(10, min(350, image_token), size=size.text)
    pieces = np.array_split(words, size.images + 1)
    prompt = list(pieces[0])
    for piece in pieces[1:]:
        prompt += features + list(piece)
    ids = np.array(prompt, dtype=np.int32)
    positions = family_of(model).positions(torch.from_numpy(ids.astype(np.int64)), grid)
    return PreparedOrder(
        prompt_ids=ids,
        positions=positions,
        images=tuple((place + shift) % size.images for place in range(size.images)),
        image_columns=np.flatnonzero(ids == image_token),
        responses=tuple(_response(length, rng, image_token) for length in size.responses),
    )


def _response(length: int, rng: np.random.Generator, image_token: int) -> PackedResponse:
    return PackedResponse(
        token_ids=rng.integers(10, min(350, image_token), size=length).astype(np.int32),
        logprobs=np.full(length, -6.0, dtype=np.float32),
        current=np.ones(length, dtype=bool),
        advantage=float(rng.standard_normal()),
    )
