"""Groups as the trainer prepares them, made up: random pixels, prompts and answers."""

from typing import Any

import numpy as np
import torch

from services.trainer.compute.families import family_of
from services.trainer.compute.packing import PackedResponse, PreparedGroup, PreparedOrder


def prepared_group(
    model: Any,
    rng: torch.Generator,
    image_counts_and_orders: tuple[int, list[tuple[int, ...]]],
    responses: list[int],
) -> PreparedGroup:
    """A group with random pixels, prompts around the images, and ragged random responses.

    Args:
        image_counts_and_orders: how many distinct images, and which of them each order shows.
        responses: the length of each order's responses, in tokens.
    """
    images, orders = image_counts_and_orders
    vision = model.config.vision_config
    sides = [4 if index % 2 else 6 for index in range(images)]
    grid = torch.tensor([[1, side, side] for side in sides])
    features = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.randn(int(grid.prod(-1).sum()), features, generator=rng)
    numbers = np.random.default_rng(images)
    tokens = (grid.prod(-1) // vision.spatial_merge_size**2).tolist()
    image_token = model.config.image_token_id
    prepared = []
    for order in orders:
        prompt = [3, 5]
        for image in order:
            prompt += [image_token] * tokens[image] + list(numbers.integers(20, 90, size=2))
        positions = family_of(model).positions(torch.tensor(prompt), grid[list(order)])
        answers = [numbers.integers(20, 90, size=length).astype(np.int32) for length in responses]
        # A response may contain the image token itself: no image belongs there.
        answers[0][-1] = image_token
        prepared.append(
            PreparedOrder(
                prompt_ids=np.array(prompt, dtype=np.int32),
                positions=positions,
                images=tuple(order),
                image_columns=np.flatnonzero(np.array(prompt) == image_token),
                responses=tuple(
                    PackedResponse(
                        token_ids=answer,
                        logprobs=np.zeros(len(answer), dtype=np.float32),
                        current=np.ones(len(answer), dtype=bool),
                        advantage=float(index),
                    )
                    for index, answer in enumerate(answers)
                ),
            )
        )
    return PreparedGroup(pixel_values=pixels, grid=grid, orders=tuple(prepared))
