"""The fault suite damages real messages: each becomes a dead letter, and its group is dropped."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from shared.service.connection import Patience, connect
from shared.wire.messages import MalformedMessage, TrajectoryBatch, decode, encode
from shared.wire.runstate import RunState
from tests.faults.damage import STREAMS, Damage, damage_one, garbled, of_unknown_version, truncated
from tests.faults.system import KEYS, System
from tests.integration.reward_bench import RIGHT, WAIT_S, WRONG, Bench, config, trajectories

INCARNATION = 2
"""Of the messages that the bench makes."""


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    client = await connect(redis_url, timeout_s=10)
    await RunState(client, KEYS).update(incarnation=INCARNATION)
    yield Bench(client, config(redis_url).model_copy(update={"run": KEYS.run}))
    await client.aclose()


def chooses_trajectories() -> random.Random:
    """A generator that damages a message on that stream."""
    seeds = count()
    while random.Random(seed := next(seeds)).choice(sorted(STREAMS)) != KEYS.trajectories:
        pass
    return random.Random(seed)


@pytest.mark.parametrize(
    ("damage", "why"),
    [(truncated, "not a message"), (of_unknown_version, "schema version"), (garbled, "")],
)
async def test_a_damaged_message_is_buried_and_its_group_dropped(
    bench: Bench, tmp_path: Path, damage: Damage, why: str
) -> None:
    system = System(tmp_path, seed=1)
    system.client = bench.client
    system.patient = Patience(bench.client, "test", WAIT_S)
    await bench.issue("g", orders=1)
    sound = encode(trajectories("g", 0, RIGHT, WRONG, orders=1))
    beside = {"g": "g", "s": f"in_flight:{INCARNATION}"}
    await bench.client.xadd(bench.keys.trajectories, {"m": sound, **beside})

    damaging = asyncio.create_task(damage_one(system, damage, chooses_trajectories()))
    async with asyncio.timeout(WAIT_S):
        while not (broken := await on_stream(bench)) or broken[0] == sound:
            await asyncio.sleep(0.01)
        with pytest.raises(MalformedMessage):
            decode(TrajectoryBatch, broken[0])
        assert not damaging.done()
        async with bench.node():
            await damaging

    [(_, letter)] = await bench.client.xrange(bench.keys.dead_letters)
    assert letter[b"m"] == broken[0] and letter[b"g"] == b"g"
    assert why in letter[b"reason"].decode()
    counts = await bench.ledger.counts()
    assert (counts.dropped, counts.in_flight) == ({"dead_letter": 1}, 0)


async def on_stream(bench: Bench) -> list[bytes]:
    """The payloads that are there now."""
    return [fields[b"m"] for _, fields in await bench.client.xrange(bench.keys.trajectories)]
