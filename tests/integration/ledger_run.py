"""A run's account and queues on a real Redis, with the hands of each service."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import redis.asyncio

from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import (
    PolicyVersion,
    ScoredGroup,
    ScoredOrder,
    TrajectoryBatch,
    decode,
    encode,
)
from shared.wire.queues import Entry, WorkStream
from shared.wire.verdicts import Verdicts
from tests.builders import batch, reward, task

IMAGES = {"ab" * 32: b"one", "cd" * 32: b"two"}
V2 = PolicyVersion(incarnation=2, step=5)


@dataclass
class Run:
    """A run's account and queues, with the hands of each service."""

    client: redis.asyncio.Redis
    keys: Keys
    ledger: Ledger
    verdicts: Verdicts

    def stream(self, name: str, consumer: str = "one") -> WorkStream:
        return WorkStream(self.client, name, consumer)

    async def issue(self, group: str = "g", orders: int = 2) -> bool:
        tasks = [task(group_id=group, order_index=i, orders=orders) for i in range(orders)]
        return await self.ledger.issue(tasks, IMAGES)

    async def sample_all(self) -> None:
        """Answer every waiting prompt, as a rollout node does."""
        prompts = self.stream(self.keys.prompts)
        for entry in await prompts.read(100, block_s=0.01):
            answered = TrajectoryBatch(
                **dict(batch()) | {"task": decode(type(task()), entry.payload)}
            )
            assert await prompts.hand_over(entry, self.keys.trajectories, encode(answered))

    async def read(self, consumer: str = "one", count: int = 100) -> list[Entry]:
        return await self.stream(self.keys.trajectories, consumer).read(count, block_s=0.01)

    async def collect(self, entry: Entry) -> list[bytes] | None:
        scored = scored_order(entry)
        return await self.ledger.collect(entry, scored, encode(scored))

    async def forward(self, entry: Entry, orders: list[bytes]) -> bool:
        group = assembled(orders)
        return await self.ledger.forward(entry, group, group.orders[0].batch.task.issued_at)

    async def score_all(self) -> list[bool]:
        """Score and forward everything that waits, as a reward node does."""
        done = []
        for entry in await self.read():
            orders = await self.collect(entry)
            if orders is not None:
                done.append(await self.forward(entry, orders))
        return done

    async def train_all(self, step: int = 6) -> list[bool]:
        entries = await self.stream(self.keys.groups, "trainer").read(100, block_s=0.01)
        return [await self.train(entry, step) for entry in entries]

    async def train(self, entry: Entry, step: int = 6) -> bool:
        group = decode(ScoredGroup, entry.payload)
        issued_at = group.orders[0].batch.task.issued_at
        return await self.ledger.train(group.group_id, issued_at, step, entry.id)

    async def put_trajectory(self, **changes: object) -> None:
        await self.client.xadd(self.keys.trajectories, {"m": encode(batch(**changes))})

    async def lengths(self) -> dict[str, int]:
        names = ("prompts", "trajectories", "groups", "dead_letters")
        return {name: await self.client.xlen(getattr(self.keys, name)) for name in names}

    async def image_keys(self) -> int:
        return len(await self.client.keys(self.keys.image_prefix + "*"))


@contextlib.asynccontextmanager
async def running(redis_url: str) -> AsyncIterator[Run]:
    """A new run, whose queues are there."""
    client = await connect(redis_url, timeout_s=10)
    keys = Keys("ledger-test")
    run = Run(client, keys, Ledger(client, keys), Verdicts(client, keys))
    for name in (keys.prompts, keys.trajectories, keys.groups):
        await run.stream(name).create()
    try:
        yield run
    finally:
        await client.aclose()


def scored_order(entry: Entry) -> ScoredOrder:
    return ScoredOrder(
        batch=decode(TrajectoryBatch, entry.payload),
        rewards=(reward(1.0), reward(0.0)),
        scored_s=0.0,
    )


def assembled(orders: list[bytes]) -> ScoredGroup:
    decoded = sorted(
        (decode(ScoredOrder, data) for data in orders),
        key=lambda order: order.batch.task.order_index,
    )
    return ScoredGroup(group_id=decoded[0].batch.task.group_id, orders=tuple(decoded))


async def balance(run: Run) -> tuple[int, int, int, dict[str, int]]:
    counts = await run.ledger.counts()
    assert counts.balanced()
    return counts.issued, counts.trained, counts.in_flight, counts.dropped


async def pending(run: Run) -> list[dict]:
    return await run.client.xpending_range(run.keys.prompts, "workers", "-", "+", 10)
