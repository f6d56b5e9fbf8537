"""A dead rollout node's work, when there is more new work than nodes: real Redis, no engine."""

import asyncio
from typing import Any

import pytest

from services.rollout.consumer import Consumer
from services.rollout.node import Node
from shared.config import Config
from shared.service.connection import Patience, connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PromptTask, TrajectoryBatch, decode
from shared.wire.queues import WorkStream
from tests.builders import batch, task
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

WAIT_S = 30.0
WAITING = 12
VERSION = task().issued_at


class ScriptedAnswers:
    """In place of an engine: any task is answered after 0.5 s, so new work lasts for 6 s."""

    def __init__(self) -> None:
        self.priorities: dict[str, int] = {}

    async def sample(self, task: PromptTask, priority: int = 0) -> TrajectoryBatch:
        self.priorities[task.group_id] = priority
        await asyncio.sleep(0.5)
        return TrajectoryBatch(**dict(batch()) | {"task": task})


async def test_abandoned_tasks_are_answered_while_new_ones_wait(tmp_path, redis_url):
    settings = demo_config(tmp_path, redis_url)
    settings["rollout"] = {"lost_after_s": 0.9, "heartbeat_s": 0.1, "concurrent_tasks": 1}
    config = Config.model_validate(settings)
    client, keys = await connect(redis_url, 10.0), Keys(config.run)
    ledger, dead = Ledger(client, keys), WorkStream(client, keys.prompts, "dead")
    trajectories = WorkStream(client, keys.trajectories, "test")
    await dead.create()
    await trajectories.create()
    for number in range(WAITING + 1):
        assert await ledger.issue([task(group_id=f"g{number}", orders=1)], {})
    (abandoned,) = await dead.read(1, block_s=0.1)

    node, sampler = Node("node", "http://node"), ScriptedAnswers()
    node.loaded(VERSION, 0.0)
    node.set_state("ready")
    busy: Any = sampler
    stop = asyncio.Event()
    consumer = Consumer(client, config, node, busy, Patience(client, "node", 10.0))
    working = asyncio.create_task(consumer.run(stop))
    answered: list[str] = []
    async with asyncio.timeout(WAIT_S):
        while abandoned.group not in answered:
            entries = await trajectories.read(10, 0.1)
            answered += [decode(TrajectoryBatch, one.payload).task.group_id for one in entries]
        stop.set()
        await working

    assert 1 < len(answered) <= WAITING / 2
    in_order_of_issue = sorted(sampler.priorities, key=lambda name: int(name[1:]))
    assert in_order_of_issue[0] == abandoned.group
    assert in_order_of_issue == sorted(
        sampler.priorities, key=lambda name: sampler.priorities[name]
    )
    assert await client.xlen(keys.prompts) >= WAITING / 2
    await client.aclose()
