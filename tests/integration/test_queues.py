"""Streams of work on a real Redis: taken over, renewed, finished."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.wire.messages import encode
from tests.builders import batch
from tests.integration.ledger_run import Run, pending, running


@pytest.fixture
async def run(redis_url: str) -> AsyncIterator[Run]:
    async with running(redis_url) as run:
        yield run


async def test_a_prompt_taken_over_gives_one_result(run: Run) -> None:
    await run.issue(orders=1)
    (slow,) = await run.stream(run.keys.prompts, "slow").read(1, block_s=0.01)
    heir = run.stream(run.keys.prompts, "heir")
    (taken,) = await heir.claim_abandoned(0, 10)
    assert await heir.deliveries(taken) == 2
    answered = encode(batch(group_id="g", orders=1))
    assert await heir.hand_over(taken, run.keys.trajectories, answered)
    late = run.stream(run.keys.prompts, "slow")
    assert not await late.hand_over(slow, run.keys.trajectories, answered)
    assert (await run.lengths())["trajectories"] == 1


async def test_renewed_work_is_not_taken_over(run: Run) -> None:
    await run.issue(orders=1)
    holder = run.stream(run.keys.prompts, "holder")
    (entry,) = await holder.read(1, block_s=0.01)
    await run.client.xclaim(
        run.keys.prompts, "workers", "holder", 0, [entry.id], idle=60_000, justid=True
    )
    await holder.renew([entry.id])
    assert await run.stream(run.keys.prompts, "heir").claim_abandoned(30, 10) == []
    assert await holder.deliveries(entry) == 1


async def test_abandoned_work_is_found_behind_much_that_is_not(run: Run) -> None:
    for number in range(31):
        await run.issue(f"g{number}", orders=1)
    holder, dead = run.stream(run.keys.prompts, "holder"), run.stream(run.keys.prompts, "dead")
    held = await holder.read(30, block_s=0.01)
    (left,) = await dead.read(1, block_s=0.01)
    ids = [entry.id for entry in (*held, left)]
    await run.client.xclaim(run.keys.prompts, "workers", "dead", 0, ids, idle=60_000, justid=True)
    await holder.renew([entry.id for entry in held])
    (taken,) = await run.stream(run.keys.prompts, "heir").claim_abandoned(30, 1)
    assert taken == left


async def test_of_two_that_look_for_abandoned_work_one_gets_it(run: Run) -> None:
    await run.issue(orders=2)
    assert len(await run.stream(run.keys.prompts, "dead").read(2, block_s=0.01)) == 2
    heirs = [run.stream(run.keys.prompts, f"heir-{number}") for number in range(4)]
    await run.client.xclaim(
        *(run.keys.prompts, "workers", "dead", 0),
        *([entry["message_id"] for entry in await pending(run)],),
        idle=60_000,
        justid=True,
    )
    taken = await asyncio.gather(*(heir.claim_abandoned(30, 2) for heir in heirs))
    assert sorted(entry.id for entries in taken for entry in entries) == sorted(
        entry["message_id"].decode() for entry in await pending(run)
    )


async def test_an_entry_is_finished_without_a_result(run: Run) -> None:
    await run.issue(orders=1)
    prompts = run.stream(run.keys.prompts)
    (entry,) = await prompts.read(1, block_s=0.01)
    for _ in range(2):
        await prompts.finish(entry)
        assert await prompts.length() == 0
        assert await pending(run) == []


async def test_streams_come_back_after_redis_lost_them(run: Run) -> None:
    await run.client.flushall()
    trajectories = run.stream(run.keys.trajectories)
    assert await trajectories.read(1, block_s=0.01) == []
    assert await trajectories.claim_abandoned(0, 1) == []
    await run.put_trajectory(group_id="g")
    assert len(await trajectories.read(1, block_s=0.01)) == 1
