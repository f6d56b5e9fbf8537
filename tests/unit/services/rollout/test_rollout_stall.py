"""A rollout node whose engine hangs ends itself and says how long it waited for what."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI

from services.rollout.failures import EngineFailed
from services.rollout.node import Node
from shared.config import Config
from shared.errors import WaitTimeout
from shared.service.connection import connect

if TYPE_CHECKING:
    from services.rollout.service import RolloutService

# The import of vLLM.
pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


@pytest.fixture
async def service(redis_url: str, tmp_path: Path):
    """A node whose engine was never started, so that no token ever comes."""
    # vLLM takes seconds to import: only the test process that runs this file does.
    from services.rollout.service import RolloutService

    client = await connect(redis_url, 10.0)
    config = Config.model_validate(
        {
            "run": "r",
            "redis": {"url": redis_url},
            "model": {"path": tmp_path},
            "data": {"train": "t"},
            "rollout": {"stall_timeout_s": 0.1, "heartbeat_s": 0.05, "start_timeout_s": 0.1},
            "trainer": {},
        }
    )
    yield RolloutService(client, config, Node("rollout-7", "http://n"), FastAPI())
    await client.aclose()


async def test_requests_without_tokens_end_the_node(service: "RolloutService") -> None:
    service._node.idle.working = 3
    message = (
        r"^rollout-7: the engine has 3 requests and gave no token for \d+ s "
        r"\(rollout\.stall_timeout_s\)$"
    )
    with pytest.raises(EngineFailed, match=message):
        await asyncio.wait_for(service._end_when_stalled(), PATIENCE_S)


async def test_a_node_without_requests_is_not_stalled(service: "RolloutService") -> None:
    watching = asyncio.create_task(service._end_when_stalled())
    done, _ = await asyncio.wait({watching}, timeout=1.0)
    watching.cancel()
    assert not done


async def test_a_node_that_gets_no_weights_says_so(service: "RolloutService") -> None:
    message = r"^rollout-7: waited 0\.1 s for its first weights \(rollout\.start_timeout_s\); gave"
    with pytest.raises(WaitTimeout, match=message):
        await asyncio.wait_for(service._start_in_time(), PATIENCE_S)
