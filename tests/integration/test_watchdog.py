"""The watchdog on a real Redis: what a stalled stage looks like to the person who asks."""

import asyncio
import contextlib
import time

import pytest

from perl_rl.observe import look
from perl_rl.status import describe
from services.trainer.runstate import RunState
from services.trainer.watchdog import Watchdog
from shared.connection import connect
from shared.keys import Keys
from shared.registry import NodeInfo, Registry

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0


async def test_status_names_the_stage_that_stands_still(redis_url, caplog):
    client, keys = await connect(redis_url, 10.0), Keys("test")
    node = NodeInfo(name="rollout-0", kind="rollout", url="http://here", state="ready")
    await Registry(client, keys).heartbeat(node, 60.0)
    await client.xadd(keys.prompts, {"m": b"a prompt"})
    await RunState(client, keys).update(phase="waiting for groups", step=3, steps=9)
    watchdog = Watchdog(client, keys, after_s=0.01)
    watching = asyncio.create_task(watchdog.run())
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (await RunState(client, keys).get()).stalled:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        said = describe("test", await look(client, keys))
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await client.aclose()
    assert "rollout stalled: 1 prompts queued (rollout-0 ready), nothing done for" in said
    assert "rollout stalled" in caplog.text
    assert "trainer.stall_after_s" in caplog.text
    assert watchdog.seconds()["rollout"] > 0
    assert "reward stalled" not in said
