"""A rollout node that is cut off from the trainer's weights: real HTTP, real Redis, no engine."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest

from services.rollout.consumer import Consumer
from services.rollout.node import Node
from services.rollout.weights.merged import Merger
from services.rollout.weights.watch import WeightWatcher
from shared.config import Config
from shared.service.connection import Patience, connect
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion, encode
from tests.builders import task
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0
NOBODY = "http://127.0.0.1:9/weights/2.5"


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_it_hands_work_back_and_is_not_ready(tmp_path, redis_url):
    settings = demo_config(tmp_path, redis_url)
    settings["rollout"] = {"outdated_after_s": 0.1, "heartbeat_s": 0.1}
    config = Config.model_validate(settings)
    client, keys = await connect(redis_url, 10.0), Keys(config.run)
    patient = Patience(client, "node", 10.0)
    node = Node("node", "http://node")
    node.loaded(PolicyVersion(incarnation=2, step=4), 0.0)
    node.set_state("ready")
    # Neither an engine nor a sampler: the weights never come, so nothing is ever sampled.
    merger = Merger(config.model.path, "float32")
    watcher = WeightWatcher(None, VersionBoard(client, keys), node, config, patient, merger)
    consumer = Consumer(client, config, node, None, patient)
    stop = asyncio.Event()
    working = [asyncio.create_task(watcher.run()), asyncio.create_task(consumer.run(stop))]
    try:
        await client.xadd(keys.prompts, {"m": encode(task())})
        await _until(lambda: len(node.in_work) == 1)
        await VersionBoard(client, keys).announce(PolicyVersion(incarnation=2, step=5), NOBODY)

        await _until(lambda: node.state == "outdated")
        await _until(lambda: node.handed_back == 1)

        assert not node.ready
        pending = await client.xpending(keys.prompts, "workers")
        assert pending["pending"] == 1, "it waits to be taken over"
        assert await client.xlen(keys.dead_letters) == 0
    finally:
        stop.set()
        for one in working:
            one.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await one
        await client.aclose()
