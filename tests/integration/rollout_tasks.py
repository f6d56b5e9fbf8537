"""Questions for a live node, and what the trainer's model says to its answers."""

import asyncio
import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from shared.images import digest
from shared.prompting import messages
from shared.wire.ledger import Ledger
from shared.wire.messages import PromptTask, Response, SamplingSettings, TrajectoryBatch, decode
from shared.wire.queues import WorkStream
from tests.builders import task
from tests.integration.live_node import PATIENCE_S, LiveNode

_numbers = itertools.count()


@dataclass(frozen=True)
class Asked:
    """A prompt task and the bytes of its images by hash."""

    task: PromptTask
    images: dict[str, bytes]


def ask(live: LiveNode, count: int, **changes: Any) -> list[Asked]:
    """The same `count` questions each time, over two to four images each, as groups of one order.

    The images have several sizes, some above the node's ``model.max_pixels``.
    """
    several = []
    for number in range(count):
        pictures = [_picture(number, place) for place in range(2 + number % 3)]
        question = "".join(f"Image {place}: <image>\n" for place in range(len(pictures)))
        fields: dict[str, Any] = {
            "run": live.config.run,
            "group_id": f"asked-{next(_numbers)}",
            "orders": 1,
            "permutation": tuple(range(len(pictures))),
            "question": f"{question}Which of them is number {number}?",
            "images": tuple(map(digest, pictures)),
            "answer": "0",
            "n": 1,
            "seed": 1000 * number,
            "issued_at": live.version,
            "sampling": SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=16),
        }
        images = dict(zip(map(digest, pictures), pictures, strict=True))
        several.append(Asked(task(**(fields | changes)), images))
    return several


def answers(live: LiveNode, asked: list[Asked]) -> list[TrajectoryBatch]:
    """Issue the tasks as the feeder does and wait for their trajectories, in the same order."""
    live.do(issue(live, asked))
    return live.do(collect(live, asked))


async def issue(live: LiveNode, asked: list[Asked]) -> None:
    """Enter the groups in the ledger and queue their tasks."""
    ledger = Ledger(live.client, live.keys)
    for one in asked:
        assert await ledger.issue([one.task], one.images)


async def collect(live: LiveNode, asked: list[Asked]) -> list[TrajectoryBatch]:
    """Wait for the trajectories of these tasks; settles their groups."""
    ledger = Ledger(live.client, live.keys)
    stream = WorkStream(live.client, live.keys.trajectories, "test")
    await stream.create()
    found: dict[str, TrajectoryBatch] = {}
    wanted = {one.task.group_id for one in asked}
    async with asyncio.timeout(PATIENCE_S):
        while wanted - set(found):
            for entry in await stream.read(100, 1.0):
                batch = decode(TrajectoryBatch, entry.payload)
                found[batch.task.group_id] = batch
                await ledger.drop(
                    batch.task.group_id, batch.task.issued_at, "test", stream.name, entry
                )
    return [found[one.task.group_id] for one in asked]


class Reference:
    """The trainer's side: the same model in transformers, on the same prompts."""

    def __init__(self, folder: Path, live: LiveNode) -> None:
        model = live.config.model
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
        self._processor = AutoProcessor.from_pretrained(
            folder, min_pixels=model.min_pixels, max_pixels=model.max_pixels
        )
        self._instruction = live.config.data.instruction

    def inputs(self, asked: Asked) -> dict[str, torch.Tensor]:
        """The prompt as the processor expands it: (1, P) ids, pixels and grid."""
        text = self._processor.apply_chat_template(
            messages(asked.task.question, self._instruction),
            add_generation_prompt=True,
            tokenize=False,
        )
        images = [asked.images[name] for name in asked.task.images]
        pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in images]
        shown = [pictures] if pictures else None
        return dict(self._processor(text=[text], images=shown, return_tensors="pt"))

    @torch.no_grad()
    def logprobs(self, asked: Asked, response: Response) -> torch.Tensor:
        """(T, V) log-probabilities of every token at each place of the response.

        A token that stands for an image in a prompt means nothing in a response, and transformers
        refuses it there; the response counts up to the first one only.
        """
        inputs = self.inputs(asked)
        ids = torch.tensor(np.array(response.token_ids, dtype=np.int64))
        placeholders = [self.model.config.image_token_id, self.model.config.video_token_id]
        strange = torch.isin(ids, torch.tensor(placeholders)).nonzero()
        ids = ids[: int(strange[0])] if len(strange) else ids
        prompt = inputs["input_ids"].shape[1]
        whole = torch.cat([inputs["input_ids"], ids[None]], 1)
        types = (whole == self.model.config.image_token_id).int()
        logits = self.model(
            input_ids=whole,
            attention_mask=torch.ones_like(whole),
            mm_token_type_ids=types,
            pixel_values=inputs.get("pixel_values"),
            image_grid_thw=inputs.get("image_grid_thw"),
        ).logits
        return logits[0, prompt - 1 : -1].float().log_softmax(-1)

    def differences(self, asked: list[Asked], batches: list[TrajectoryBatch]) -> torch.Tensor:
        """(all tokens,) absolute differences between this model's and the node's logprobs."""
        return torch.cat(
            [
                self.difference(one, response)
                for one, batch in zip(asked, batches, strict=True)
                for response in batch.responses
            ]
        )

    def difference(self, asked: Asked, response: Response) -> torch.Tensor:
        """As `differences`, (T,) for one response."""
        ours = self.logprobs(asked, response)
        ids = torch.tensor(np.array(response.token_ids[: len(ours)], dtype=np.int64))
        theirs = torch.tensor(np.array(response.logprobs[: len(ours)]))
        return (ours.gather(1, ids[:, None])[:, 0] - theirs).abs()


def _picture(number: int, place: int) -> bytes:
    """A PNG of coloured squares, another one for each question and place."""
    squares = np.random.default_rng([number, place]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    side = [(56, 56), (56, 56), (84, 56), (168, 112)][(number + place) % 4]
    data = io.BytesIO()
    Image.fromarray(squares).resize(side, Image.Resampling.NEAREST).save(data, "PNG")
    return data.getvalue()
