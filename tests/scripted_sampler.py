"""Answers a run's prompts without an engine: given texts as tokens, graded by comparison.

For tests of the trainer, which must not depend on what a model happens to say. Prompts are rendered
and expanded by the processor, as an engine does.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import AutoProcessor

from shared.config import Config
from shared.prompting import messages
from shared.service.connection import connect
from shared.wire.image_store import ImageStore
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import (
    PolicyVersion,
    PromptTask,
    Response,
    Reward,
    ScoredGroup,
    ScoredOrder,
    TrajectoryBatch,
    VersionSpan,
    decode,
    encode,
)
from shared.wire.queues import Entry, WorkStream


class ScriptedSampler:
    """Plays rollout and reward nodes for one run.

    Args:
        scores: whether it plays the reward nodes too; otherwise real ones score.
        solved: sources whose questions it drops, as if every answer were right.
    """

    def __init__(self, config: Config, scores: bool = True, solved: Sequence[str] = ()) -> None:
        self._config = config
        self._scores = scores
        self._solved = solved
        self._processor = AutoProcessor.from_pretrained(config.model.path)
        self.issued: list[PromptTask] = []

    async def run(self) -> None:
        """Answer every prompt until cancelled."""
        assert self._config.redis.url
        client = await connect(self._config.redis.url, 30.0)
        keys = Keys(self._config.run)
        images = ImageStore(client, keys, 10_000_000, 1 << 24)
        prompts = WorkStream(client, keys.prompts, "scripted")
        trajectories = WorkStream(client, keys.trajectories, "scripted")
        ledger = Ledger(client, keys)
        await prompts.create()
        await trajectories.create()
        while True:
            for entry in await prompts.read(8, 0.2):
                task = decode(PromptTask, entry.payload)
                self.issued.append(task)
                pictures = await images.get(list(task.images))
                batch = await asyncio.to_thread(self._answer, task, pictures)
                await prompts.hand_over(entry, keys.trajectories, encode(batch))
            for entry in await trajectories.read(8, 0.2) if self._scores else []:
                batch = decode(TrajectoryBatch, entry.payload)
                scored = ScoredOrder(batch=batch, rewards=_grade(batch), scored_s=0.0)
                complete = await ledger.collect(entry, scored, encode(scored))
                if complete is not None:
                    orders = sorted(
                        (decode(ScoredOrder, one) for one in complete),
                        key=lambda order: order.batch.task.order_index,
                    )
                    group = ScoredGroup(group_id=batch.task.group_id, orders=tuple(orders))
                    await self._judge(ledger, entry, group)

    async def _judge(self, ledger: Ledger, entry: Entry, group: ScoredGroup) -> None:
        task = group.orders[0].batch.task
        if task.source not in self._solved:
            await ledger.forward(entry, group, task.issued_at)
            return
        sums = group.score_sums() | {"accuracy": group.score_sums()["responses"]}
        stream = Keys(self._config.run).trajectories
        await ledger.drop(task.group_id, task.issued_at, "uniform_reward", stream, entry, sums)

    def _answer(self, task: PromptTask, pictures: list) -> TrajectoryBatch:
        text = self._processor.apply_chat_template(
            messages(task.question, self._config.data.instruction),
            add_generation_prompt=True,
            tokenize=False,
        )
        seen = self._processor(text=[text], images=pictures or None)
        wrong = "x" * (1 + task.order_index)
        texts = [task.answer if index % 2 else wrong for index in range(task.n)]
        return TrajectoryBatch(
            task=task,
            node="scripted",
            prompt_token_ids=seen["input_ids"][0],
            image_grids=seen["image_grid_thw"].tolist() if pictures else (),
            responses=tuple(self._response(text, task.issued_at) for text in texts),
            sampled_s=0.0,
        )

    def _response(self, text: str, version: PolicyVersion) -> Response:
        ids = self._processor.tokenizer(f"\\boxed{{{text}}}<|im_end|>")["input_ids"]
        return Response(
            token_ids=ids,
            logprobs=np.full(len(ids), -6.0),
            versions=(VersionSpan(version=version, tokens=len(ids)),),
            text=f"\\boxed{{{text}}}",
            finish_reason="stop",
        )


def _grade(batch: TrajectoryBatch) -> tuple[Reward, ...]:
    right = f"\\boxed{{{batch.task.answer}}}"
    return tuple(
        Reward(
            total=float(one.text == right),
            accuracy=float(one.text == right),
            format=0,
            extracted=None,
        )
        for one in batch.responses
    )


async def end(answering: "asyncio.Task[None]") -> None:
    """Cancel until it has ended: a reply that comes at the very moment may swallow one cancel."""
    while not answering.done():
        answering.cancel()
        await asyncio.wait({answering}, timeout=1.0)


def demo_config(folder: Path, redis_url: str, **trainer: object) -> dict:
    """A small run's settings, for `save_yaml`."""
    return {
        "run": "test",
        "seed": 3,
        "redis": {"url": redis_url},
        "model": {"path": str(folder / "model"), "dtype": "float32"},
        "data": {"train": str(folder / "data" / "train.jsonl")},
        "sampling": {"n": 4, "max_tokens": 24},
        "trainer": {
            "steps": 3,
            "groups_per_step": 4,
            "max_staleness": 0,
            "optimizer": {"learning_rate": 1e-3},
            "groups_timeout_s": 60.0,
            # The scripted log-probabilities are nobody's.
            "guard": {"mismatch_stop_above": None, "canary_every_steps": 2},
            **trainer,
        },
    }
