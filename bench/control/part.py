"""One component of `bench.control` as a process of its own, with the services' own classes.

Simulated are only the engine, whose answers are made beforehand and cost nothing, and the ranks: a
group is settled as soon as its step is full. It runs by its path with the measured checkout on
``PYTHONPATH``, so it imports nothing of ``bench``.
"""

import argparse
import asyncio
import cProfile
import os
import signal
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import redis.asyncio

from shared.config import Config, load_config
from shared.sample import load_samples
from shared.service.connection import Patience, connect
from shared.wire.board import VersionBoard
from shared.wire.image_store import ImageStore
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion, PromptTask, Response, TrajectoryBatch, VersionSpan

VERSION = PolicyVersion(incarnation=1, step=0)
CACHE = 32 << 20


async def feeder(client: redis.asyncio.Redis, config: Config, _: Any) -> None:
    """Issue groups for as long as there is room."""
    from services.trainer.control.feeder import Feeder

    samples = load_samples(Path(config.data.train_sources()[0].path))
    await Feeder(client, Keys(config.run), config, samples).run(1, asyncio.Event())


async def reward(client: redis.asyncio.Redis, config: Config, _: Any) -> None:
    """A reward node; the answers are letters and numbers, so no grader process is needed."""
    from services.reward.consumer import Consumer
    from services.reward.metrics import Metrics
    from services.reward.scoring import Scorer

    class NoExpressions:
        async def equal(self, pairs: list[tuple[str, str]]) -> bool:
            raise AssertionError(f"asked about {pairs}")

    scorer = Scorer(config.reward, NoExpressions())
    consumer = Consumer(client, config, scorer, Metrics(), "reward-0", "http://bench")
    await consumer.run(asyncio.Event())


async def trainer(client: redis.asyncio.Redis, config: Config, _: Any) -> None:
    """Collect the groups of each step and settle them, as rank 0 does."""
    from services.trainer.rank import publish
    from services.trainer.rank.intake import Intake
    from shared.wire.ledger import Ledger

    keys = Keys(config.run)
    intake, ledger = Intake(client, keys, config, incarnation=1), Ledger(client, keys)
    await intake._stream.create()
    while True:
        await publish._settle(ledger, await intake.batch(VERSION), 1, {})


async def nodes(client: redis.asyncio.Redis, config: Config, count: int) -> None:
    """Some rollout nodes, each with its connection, claims, heartbeat, board and pictures."""
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_node(config, f"rollout-{number}"))


async def _node(config: Config, name: str) -> None:
    from services.rollout.consumer import Consumer
    from services.rollout.node import Node
    from shared.service.heartbeat import stay_registered
    from shared.wire.registry import Registry

    client = await _connect(config)
    keys, node = Keys(config.run), Node(name, "http://bench")
    node.loaded(VERSION, 0.0)
    node.set_state("ready")
    images = ImageStore(client, keys, config.data.max_image_pixels, CACHE)
    patient, board = Patience(client, name, config.redis.timeout_s), VersionBoard(client, keys)
    settings = config.rollout

    async def watch() -> None:
        last = "0"
        while True:
            newest = await patient(partial(board.next_after, last, settings.heartbeat_s))
            last = newest.entry_id if newest else last

    beat = stay_registered(
        Registry(client, keys),
        patient,
        node.info,
        every_s=settings.heartbeat_s,
        lost_after_s=settings.lost_after_s,
    )
    sampler: Any = FreeSampler(images, name)
    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        group.create_task(beat)
        await Consumer(client, config, node, sampler, patient).run(asyncio.Event())


class FreeSampler:
    """Gives answers that exist already; half of them are right."""

    def __init__(self, images: ImageStore, name: str) -> None:
        self._images, self._name = images, name
        self._answers: dict[tuple[str, int, int], tuple[Response, ...]] = {}

    async def sample(self, task: PromptTask, priority: int = 0) -> TrajectoryBatch:
        """Like `services.rollout.engine.sampler.Sampler.sample`, with the pictures fetched."""
        await self._images.get(list(task.images))
        key = (task.answer, task.n, task.sampling.max_tokens)
        if key not in self._answers:
            self._answers[key] = tuple(_response(task, number) for number in range(task.n))
        return TrajectoryBatch(
            task=task,
            node=self._name,
            prompt_token_ids=_PROMPT,
            image_grids=((1, 4, 4),) * len(task.images),
            responses=self._answers[key],
            sampled_s=0.1,
        )


_PROMPT = np.arange(200, dtype=np.int32)


def _response(task: PromptTask, number: int) -> Response:
    tokens = task.sampling.max_tokens
    answer = task.answer if number % 2 else "none of them"
    rng = np.random.default_rng(number)
    return Response(
        token_ids=rng.integers(0, 150_000, tokens),
        logprobs=-rng.exponential(0.5, tokens).astype(np.float32),
        versions=(VersionSpan(version=VERSION, tokens=tokens),),
        text=f"<think>{'word ' * (tokens - 10)}</think>\\boxed{{{answer}}}",
        finish_reason="stop",
    )


async def _connect(config: Config) -> redis.asyncio.Redis:
    assert config.redis.url is not None
    return await connect(config.redis.url, config.redis.timeout_s, wait=True)


Part = Callable[[redis.asyncio.Redis, Config, int], Coroutine[Any, Any, None]]

PARTS: dict[str, Part] = {
    "feeder": feeder,
    "nodes": nodes,
    "reward": reward,
    "trainer": trainer,
}


def main() -> None:
    """Run one part until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("config", type=Path)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    profile = cProfile.Profile(time.process_time) if options.profile else None

    def leave() -> None:
        if profile is not None:
            profile.disable()
            profile.dump_stats(options.profile)
        # The run is over, and its Redis goes with it: there is nothing to hand back.
        os._exit(0)

    async def work() -> None:
        config = load_config(options.config)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)
        client = await _connect(config)
        if profile is not None:
            profile.enable()
        await PARTS[options.part](client, config, options.count)

    asyncio.run(work())


if __name__ == "__main__":
    main()
