"""How idle each stage was in a step, from heartbeats on a real Redis."""

import pytest

from services.trainer.rank.idle import IdleShares
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo, Registry

pytestmark = pytest.mark.anyio

KEYS = Keys("test")


@pytest.fixture
async def client(redis_url):
    client = await connect(redis_url, 10.0)
    yield client
    await client.aclose()


async def beat(client, name: str, idle_s: float, measured_s: float) -> None:
    node = NodeInfo(
        name=name,
        kind="reward" if name.startswith("reward") else "rollout",
        url="http://here",
        state="ready",
        idle_s=idle_s,
        measured_s=measured_s,
    )
    await Registry(client, KEYS).heartbeat(node, 60.0)


async def test_shares_are_of_the_time_since_the_step_before(client):
    shares = IdleShares(client, KEYS)
    await beat(client, "rollout-0", 10.0, 20.0)
    await beat(client, "rollout-1", 0.0, 20.0)
    await beat(client, "reward-0", 18.0, 20.0)
    first = await shares.figures(wait_s=30.0, step_s=None)
    assert set(first.values()) == {None}, "the first step waits for the services to start"

    await beat(client, "rollout-0", 10.0, 24.0)
    await beat(client, "rollout-1", 1.0, 24.0)
    await beat(client, "reward-0", 21.0, 24.0)
    assert await shares.figures(wait_s=2.0, step_s=4.0) == {
        "step_s": 4.0,
        "rollout_idle_share": 0.125,
        "reward_idle_share": 0.75,
        "trainer_idle_share": 0.5,
        "bound_by": "rollout",
    }
    silent = await shares.figures(wait_s=0.0, step_s=1.0)
    assert (silent["rollout_idle_share"], silent["bound_by"]) == (None, None)


async def test_a_node_that_started_again_counts_from_its_start(client):
    shares = IdleShares(client, KEYS)
    await beat(client, "rollout-0", 10.0, 20.0)
    await shares.figures(1.0, None)
    await beat(client, "rollout-0", 1.0, 4.0)
    assert (await shares.figures(1.0, 2.0))["rollout_idle_share"] == 0.25
