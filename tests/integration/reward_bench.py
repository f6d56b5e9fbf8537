"""A reward node on a real Redis, and the hands of the trainer and the rollout nodes around it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio

from services.reward.consumer import Consumer
from services.reward.judge import Judge
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.config import Config
from shared.wire.counts import Counts
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import ScoredGroup, TrajectoryBatch, decode, encode
from shared.wire.registry import NodeInfo, Registry
from tests.builders import batch, response, task

WAIT_S = 30.0
RIGHT, WRONG = r"<think>so</think>\boxed{B}", r"<think>so</think>\boxed{A}"


class NoExpressions:
    """These groups have letters as answers."""

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        raise AssertionError(f"asked about {pairs}")


class Bench:
    """A run with one reward node or several, and the hands of trainer and rollout nodes."""

    def __init__(self, client: redis.asyncio.Redis, config: Config) -> None:
        self.client = client
        self.config = config
        self.keys = Keys(config.run)
        self.ledger = Ledger(client, self.keys)
        self.registry = Registry(client, self.keys)
        self.metrics = Metrics()

    @asynccontextmanager
    async def node(self, name: str = "reward-0", **settings: Any) -> AsyncIterator[Consumer]:
        """A running node; leaving the block stops it in good order."""
        reward = self.config.reward.model_copy(update=settings)
        config = self.config.model_copy(update={"reward": reward})
        judge = Judge(reward.judge) if reward.judge else None
        scorer = Scorer(reward, NoExpressions(), judge)
        consumer = Consumer(self.client, config, scorer, self.metrics, name, "http://reward")
        stop = asyncio.Event()
        running = asyncio.create_task(consumer.run(stop))
        try:
            yield consumer
        finally:
            stop.set()
            await asyncio.wait_for(running, WAIT_S)
            if judge is not None:
                await judge.__aexit__()

    async def issue(self, group: str, orders: int = 2, **changes: Any) -> None:
        """What the feeder does."""
        tasks = [
            task(group_id=group, order_index=index, orders=orders, **changes)
            for index in range(orders)
        ]
        assert await self.ledger.issue(tasks, {})

    async def answer(self, group: str, index: int, *texts: str, **changes: Any) -> None:
        """What a rollout node does with one order."""
        given = trajectories(group, index, *texts, **changes)
        await self.client.xadd(self.keys.trajectories, {"m": encode(given)})

    async def until(self, condition: Callable[[Counts], bool]) -> Counts:
        """Wait for the ledger to satisfy `condition`."""
        async with asyncio.timeout(WAIT_S):
            while not condition(counts := await self.ledger.counts()):
                await asyncio.sleep(0.01)
        assert counts.balanced()
        return counts

    async def groups(self, number: int) -> list[ScoredGroup]:
        """Wait for `number` groups on the trainer's stream; there must be no more."""
        async with asyncio.timeout(WAIT_S):
            while await self.client.xlen(self.keys.groups) < number:
                await asyncio.sleep(0.01)
        entries = await self.client.xrange(self.keys.groups)
        assert len(entries) == number
        return [decode(ScoredGroup, fields[b"m"]) for _, fields in entries]

    async def until_drained(self) -> None:
        """Wait until no trajectory waits or is worked on."""
        async with asyncio.timeout(WAIT_S):
            while await self.client.xlen(self.keys.trajectories):
                await asyncio.sleep(0.01)

    async def heartbeat(self, condition: Callable[[NodeInfo], bool]) -> NodeInfo:
        async with asyncio.timeout(WAIT_S):
            while True:
                alive, _ = await self.registry.nodes()
                for node in alive:
                    if condition(node):
                        return node
                await asyncio.sleep(0.01)


def trajectories(group: str, index: int, *texts: str, **changes: Any) -> TrajectoryBatch:
    changed = {"group_id": group, "order_index": index} | changes
    responses = tuple(response(text=text) for text in texts)
    return batch(**changed).model_copy(update={"responses": responses})


def config(redis_url: str) -> Config:
    return Config.model_validate(
        {
            "run": "reward-test",
            "redis": {"url": redis_url},
            "model": {"path": "none"},
            "data": {"train": "none"},
            "trainer": {},
            "reward": {"heartbeat_s": 0.05, "lost_after_s": 0.4, "task_timeout_s": 20},
        }
    )
