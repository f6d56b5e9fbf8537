"""The watchdog on a real Redis: what a stalled stage looks like to the person who asks."""

import asyncio
import contextlib
import re
import time

import httpx
import pytest

from perl_rl.cli.status import describe
from perl_rl.report.observe import look
from services.trainer.control.app import create_app
from services.trainer.control.plane import ControlPlane
from services.trainer.control.watchdog import Watchdog
from shared.config import Config
from shared.config.connections import SecurityConfig
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo, Registry
from shared.wire.runstate import RunState
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0
ROW = '{"id": "a", "question": "?", "answer": "1", "kind": "number"}\n'


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


async def test_metrics_name_the_stage_that_stands_still(redis_url, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(ROW)
    config = Config.model_validate(demo_config(tmp_path, redis_url, stall_after_s=0.01))
    client, keys = await connect(redis_url, 10.0), Keys("test")
    await client.xadd(keys.trajectories, {"m": b"a trajectory"})
    plane = ControlPlane(client, config, tmp_path / "config.yaml", tmp_path, "http://here")
    app = create_app(plane, tmp_path, SecurityConfig())
    watching = asyncio.create_task(plane.watchdog.run())
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://t"
        ) as http:
            deadline = time.monotonic() + PATIENCE_S
            while not (await http.get("/status")).json()["trainer"]["stalled"]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            status = (await http.get("/status")).json()["trainer"]["stalled"]
            metrics = (await http.get("/metrics")).text
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await client.aclose()
    assert status.startswith("reward stalled: 1 trajectories queued (no node), nothing done for")
    found = dict(re.findall(r'^perl_stalled_seconds{stage="(\w+)"} (\S+)$', metrics, re.MULTILINE))
    assert found.keys() == {"rollout", "reward", "trainer", "feeder"}
    assert max(found, key=lambda stage: float(found[stage])) == "reward"
