"""The ranks of a worker host, and what the other hosts hear of their end."""

import asyncio
import sys
from pathlib import Path

import pytest

from services.trainer.control.ranks import HostRanks
from services.trainer.hosts.follower import Follower
from services.trainer.hosts.presence import beat
from shared.config import Config
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from tests.scripted_sampler import demo_config

PATIENCE_S = 30.0


async def test_ranks_that_fail_here_are_reported_to_the_other_hosts(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(HostRanks, "command", lambda host, incarnation: dying)
    config = Config.model_validate(demo_config(tmp_path, redis_url, hosts=2))
    client = await connect(redis_url, 10.0)
    state, stop = RunState(client, Keys("test")), asyncio.Event()
    ranks = HostRanks(config.trainer, tmp_path / "config.yaml", tmp_path, host=1)
    await state.update(phase="starting", incarnation=5)
    beating = asyncio.create_task(beat(state))
    following = asyncio.create_task(Follower(client, config, ranks).run(stop))

    async with asyncio.timeout(PATIENCE_S):
        while (await state.get()).failed_elsewhere != 5:
            await asyncio.sleep(0.05)

    stop.set()
    await asyncio.wait_for(following, PATIENCE_S)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    await client.aclose()
