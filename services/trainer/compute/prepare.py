"""Turns scored groups into tensors: pictures processed once, prompts expanded and checked.

Here the trainer makes sure that it sees what the sampler saw: the same token ids, image
placeholders included.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor

from services.trainer.compute.advantages import group_advantages
from services.trainer.compute.checks import check_features, check_grids, check_vocabulary
from services.trainer.compute.families import family_of
from services.trainer.compute.packing import PackedResponse, PreparedGroup, PreparedOrder
from services.trainer.compute.selection import select
from shared.config import Config
from shared.errors import UserError
from shared.prompting import render
from shared.wire.messages import PolicyVersion, Response, ScoredGroup, ScoredOrder


class TokenMismatch(UserError):
    """The sampler's prompt ids differ from the trainer's: the two see different prompts."""


class GroupPreparer:
    """Turns scored groups into `PreparedGroup`s for one model."""

    def __init__(self, config: Config, model: Any) -> None:
        self._processor = AutoProcessor.from_pretrained(
            config.model.path,
            trust_remote_code=config.model.trust_remote_code,
            **config.model.pixel_bounds(),
        )
        self._family = family_of(model)
        self._vocabulary = model.config.get_text_config().vocab_size
        self._image_token = self._family.image_token
        self._instruction = config.data.instruction
        self._objective = config.trainer.objective
        self._keep = config.trainer.selection.keep
        self._unexpanded: dict[str, list[int]] = {}

    def prepare(
        self, group: ScoredGroup, pictures: dict[str, Image.Image], current: PolicyVersion
    ) -> PreparedGroup:
        """Prepare one group, or the part of it that ``trainer.selection`` keeps.

        Args:
            pictures: SHA-256 to decoded picture, for every image of the group.
            current: the policy version that is about to be trained.

        Raises:
            TokenMismatch: when an order's prompt ids are not those the sampler used.
            GuardStop: when its pictures or sampled tokens cannot come from this model.
        """
        if self._keep is not None:
            group = select(group, self._keep, self._objective.advantage == "per_order")
        names = list(pictures)
        pixel_values, grid = self._pixels([pictures[name] for name in names])
        tokens = (grid.prod(-1) // self._family.merge**2).tolist()
        check_features(group.group_id, grid.prod(-1).tolist(), len(pixel_values))
        advantages = iter(group_advantages(group.rewards_by_order(), self._objective))
        orders = []
        for order in group.orders:
            check_vocabulary(order, self._vocabulary)
            images = tuple(names.index(name) for name in order.batch.task.trained_images())
            check_grids(order, grid[list(images)].tolist())
            prompt_ids = self._prompt_ids(order, [tokens[image] for image in images])
            # The sampler saw distorted pictures: differing log-probabilities are no mismatch.
            comparable = None if order.batch.task.clean_images else current
            orders.append(
                PreparedOrder(
                    prompt_ids=prompt_ids,
                    positions=self._family.positions(
                        torch.from_numpy(prompt_ids.astype(np.int64)), grid[list(images)]
                    ),
                    images=images,
                    image_columns=np.flatnonzero(prompt_ids == self._image_token),
                    responses=tuple(
                        _packed(response, float(next(advantages)), comparable)
                        for response in order.batch.responses
                    ),
                )
            )
        return PreparedGroup(pixel_values=pixel_values, grid=grid, orders=tuple(orders))

    def save(self, folder: Path) -> None:
        """Write the processor beside a saved model."""
        self._processor.save_pretrained(folder)

    def _pixels(self, pictures: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
        if not pictures:
            # Every rank has to run the vision tower when its parameters are sharded (ZeRO 3), so a
            # group without images carries a blank one that no prompt shows.
            pictures = [Image.new("RGB", (56, 56))]
        features = self._processor.image_processor(images=pictures, return_tensors="pt")
        return features["pixel_values"], features["image_grid_thw"]

    def _prompt_ids(self, order: ScoredOrder, image_tokens: list[int]) -> np.ndarray:
        task = order.batch.task
        where = f"group {task.group_id}, order {task.order_index}"
        unexpanded = self._render(task.question)
        places = unexpanded.count(self._image_token)
        if places != len(image_tokens):
            raise TokenMismatch(
                f"{where}: its prompt has {places} places for {len(image_tokens)} images; sample "
                f"{task.sample_id} may hold the image token in its text: fix it or leave it out"
            )
        counts = iter(image_tokens)
        expanded: list[int] = []
        for token in unexpanded:
            expanded.extend([token] * (next(counts) if token == self._image_token else 1))
        ours = np.array(expanded, dtype=np.int32)
        theirs = order.batch.prompt_token_ids
        if not np.array_equal(ours, theirs):
            raise TokenMismatch(
                f"{where}: node {order.batch.node} sampled with {len(theirs)} prompt tokens "
                f"({int((theirs == self._image_token).sum())} of images), the trainer has "
                f"{len(ours)} ({sum(image_tokens)}), they first differ at place "
                f"{first_difference(ours, theirs)}; give both the same model folder, "
                "model.min_pixels, model.max_pixels and data.instruction"
            )
        return ours

    def _render(self, question: str) -> list[int]:
        """Prompt ids with one placeholder for each image, cached by question."""
        if question not in self._unexpanded:
            text = render(self._processor, question, self._instruction)
            if len(self._unexpanded) > 10_000:
                self._unexpanded.clear()
            self._unexpanded[question] = self._processor.tokenizer(text)["input_ids"]
        return self._unexpanded[question]


def first_difference(ours: np.ndarray, theirs: np.ndarray) -> int:
    """The first index at which two sequences differ; the shorter one's length where none does."""
    shorter = min(len(ours), len(theirs))
    places = np.flatnonzero(ours[:shorter] != theirs[:shorter])
    return int(places[0]) if len(places) else shorter


def _packed(response: Response, advantage: float, current: PolicyVersion | None) -> PackedResponse:
    flags = [np.full(span.tokens, span.version == current) for span in response.versions]
    return PackedResponse(
        token_ids=response.token_ids,
        logprobs=response.logprobs,
        current=np.concatenate(flags),
        advantage=advantage,
        truncated=response.finish_reason == "length",
    )
