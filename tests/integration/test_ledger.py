"""Invariant 1 on a real Redis: every issued group is trained once or dropped with a reason."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
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
from shared.wire.verdicts import KEPT, LATE, Verdict
from tests.builders import batch, reward, task

IMAGES = {"ab" * 32: b"one", "cd" * 32: b"two"}
V2 = PolicyVersion(incarnation=2, step=5)


@dataclass
class Run:
    """A run's account and queues, with the hands of each service."""

    client: redis.asyncio.Redis
    keys: Keys
    ledger: Ledger

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


@pytest.fixture
async def run(redis_url: str) -> AsyncIterator[Run]:
    client = await connect(redis_url, timeout_s=10)
    keys = Keys("ledger-test")
    run = Run(client, keys, Ledger(client, keys))
    for name in (keys.prompts, keys.trajectories, keys.groups):
        await run.stream(name).create()
    yield run
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


async def test_a_group_goes_from_issue_to_trained(run: Run) -> None:
    assert await run.issue()
    assert await balance(run) == (1, 0, 1, {})
    assert await run.lengths() == {"prompts": 2, "trajectories": 0, "groups": 0, "dead_letters": 0}
    await run.sample_all()
    assert await run.score_all() == [True]
    assert await balance(run) == (1, 0, 1, {})
    assert await run.train_all() == [True]
    assert await balance(run) == (1, 1, 0, {})
    assert set((await run.lengths()).values()) == {0}
    assert await run.ledger.settled() == {"g": "trained:6"}


async def test_a_group_is_issued_once(run: Run) -> None:
    assert await run.issue()
    assert not await run.issue()
    assert await balance(run) == (1, 0, 1, {})
    assert (await run.lengths())["prompts"] == 2


async def test_images_stay_until_the_last_group_that_shows_them_is_settled(run: Run) -> None:
    await run.issue("a")
    await run.issue("b")
    await run.sample_all()
    await run.score_all()
    first, second = await run.stream(run.keys.groups, "trainer").read(2, block_s=0.01)
    assert await run.train(first)
    assert await run.image_keys() == 2
    assert await run.train(second)
    assert await run.image_keys() == 0
    assert await run.client.exists(run.keys.image_refs, run.keys.group_images) == 0


async def test_a_trajectory_delivered_twice_counts_once(run: Run) -> None:
    await run.issue()
    await run.sample_all()
    first, second = await run.read()
    assert await run.collect(first) is None
    assert await run.collect(first) is None
    orders = await run.collect(second)
    assert orders is not None and len(orders) == 2
    assert await run.forward(second, orders)
    assert not await run.forward(second, orders)
    assert await run.collect(second) is None
    assert (await run.lengths())["groups"] == 1


async def test_trajectories_put_twice_are_assembled_once(run: Run) -> None:
    await run.issue()
    await run.sample_all()
    assert await run.score_all() == [True]
    for index in range(2):
        await run.put_trajectory(group_id="g", order_index=index)
    assert await run.score_all() == []
    assert await run.lengths() == {"prompts": 0, "trajectories": 0, "groups": 1, "dead_letters": 0}
    assert await run.train_all() == [True]
    for index in range(2):
        await run.put_trajectory(group_id="g", order_index=index)
    assert await run.score_all() == []
    assert await balance(run) == (1, 1, 0, {})
    assert not await run.client.exists(run.keys.assembly("g"))


async def test_one_of_two_nodes_that_complete_a_group_forwards_it(run: Run) -> None:
    await run.issue()
    await run.sample_all()
    first, last = await run.read("dead")
    assert await run.collect(first) is None
    orders = await run.collect(last)
    assert orders is not None
    (taken,) = await run.stream(run.keys.trajectories, "heir").claim_abandoned(0, 10)
    assert taken.id == last.id
    again = await run.collect(taken)
    assert again is not None and sorted(again) == sorted(orders)
    assert await run.forward(taken, again)
    assert not await run.forward(last, orders)
    assert await run.train_all() == [True]
    assert await balance(run) == (1, 1, 0, {})


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


async def pending(run: Run) -> list[dict]:
    return await run.client.xpending_range(run.keys.prompts, "workers", "-", "+", 10)


async def test_a_late_order_of_a_dropped_group_is_discarded(run: Run) -> None:
    await run.issue()
    await run.sample_all()
    first, second = await run.read()
    assert await run.ledger.drop("g", V2, "uniform_reward", run.keys.trajectories, first)
    assert await balance(run) == (1, 0, 0, {"uniform_reward": 1})
    assert await run.collect(second) is None
    assert not await run.ledger.drop("g", V2, "again", run.keys.trajectories, first)
    assert await balance(run) == (1, 0, 0, {"uniform_reward": 1})
    assert set((await run.lengths()).values()) == {0}


async def test_a_group_dropped_while_it_waits_for_the_trainer_is_not_trained(run: Run) -> None:
    await run.issue()
    await run.sample_all()
    await run.score_all()
    (entry,) = await run.stream(run.keys.groups, "trainer").read(1, block_s=0.01)
    assert await run.ledger.drop("g", V2, "stale", run.keys.groups, entry)
    assert not await run.train(entry)
    assert await balance(run) == (1, 0, 0, {"stale": 1})


async def test_a_group_is_trained_once(run: Run) -> None:
    await run.issue()
    await run.sample_all()
    await run.score_all()
    (entry,) = await run.stream(run.keys.groups, "trainer").read(1, block_s=0.01)
    assert await run.train(entry)
    assert not await run.train(entry)
    await run.client.xadd(run.keys.groups, {"m": entry.payload})
    (copy,) = await run.stream(run.keys.groups, "trainer").read(1, block_s=0.01)
    assert not await run.train(copy)
    assert await balance(run) == (1, 1, 0, {})


async def test_restore_forgets_what_the_checkpoint_does_not_know(run: Run) -> None:
    for name in ("trained", "later", "flying"):
        await run.issue(name)
    checkpoint = {"trained": "trained:5", "old": "dropped:stale"}
    await run.sample_all()
    entries = await run.read()
    await run.ledger.restore(checkpoint)
    assert await balance(run) == (2, 1, 0, {"stale": 1})
    assert await run.ledger.settled() == checkpoint
    assert set((await run.lengths()).values()) == {0}
    assert await run.image_keys() == 0
    # Work of the lost history arrives after the group was issued again in the new one.
    tasks = [
        task(group_id="flying", order_index=i, issued_at=PolicyVersion(incarnation=3, step=5))
        for i in range(2)
    ]
    assert await run.ledger.issue(tasks, IMAGES)
    for entry in entries:
        await run.client.xadd(run.keys.trajectories, {"m": entry.payload})
    assert await run.score_all() == []
    assert await balance(run) == (3, 1, 1, {"stale": 1})
    # The new history's own work goes through.
    await run.sample_all()
    assert await run.score_all() == [True]
    assert await run.train_all() == [True]
    assert await balance(run) == (3, 2, 0, {"stale": 1})


async def test_the_first_verdict_on_a_group_stands(run: Run) -> None:
    for name in ("kept", "stale", "slow"):
        await run.issue(name)
    assert await run.ledger.verdicts() == {}
    assert await run.ledger.stop_waiting("slow") == Verdict(LATE)
    await run.sample_all()
    assert await run.score_all() == [True] * 3
    assert await run.ledger.verdict("stale") == Verdict(KEPT, 0.5)
    entries = await run.stream(run.keys.groups, "trainer").read(3, block_s=0.01)
    by_group = {entry.group: entry for entry in entries}
    assert await run.train(by_group["kept"])
    groups = run.keys.groups
    assert await run.ledger.drop("stale", V2, "stale", groups, by_group["stale"])
    known = {"kept": "kept:0.5000", "stale": "kept:0.5000", "slow": "late:"}
    assert await run.ledger.verdicts() == known
    assert await run.ledger.stop_waiting("kept") == Verdict(KEPT, 0.5)


async def test_restore_brings_the_verdicts_back(run: Run) -> None:
    await run.issue("lost")
    await run.ledger.stop_waiting("lost")
    settled = {"a": "trained:5", "b": "dropped:too:few", "c": "dropped:uniform_reward"}
    verdicts = {"c": "uniform_reward:1.0000", "flying": "kept:0.2500"}
    await run.ledger.restore(settled, verdicts, {"easy": 3})
    # A checkpoint of an earlier release has no verdicts: the states tell what they can.
    assert await run.ledger.verdicts() == {"a": "kept:", "b": "too:few:"} | verdicts
    assert await run.ledger.verdict("b") == Verdict("too:few")
    assert (await run.ledger.counts()).skipped == {"easy": 3}
    await run.ledger.restore({})
    assert await run.ledger.verdicts() == (await run.ledger.counts()).skipped == {}


async def test_restore_lets_no_group_be_issued_twice(run: Run) -> None:
    await run.ledger.restore({"g": "trained:1"})
    assert not await run.issue("g")


async def test_a_dead_letter_drops_its_group_when_it_is_known(run: Run) -> None:
    await run.issue()
    prompts = run.stream(run.keys.prompts)
    first, second = await prompts.read(2, block_s=0.01)
    assert await run.ledger.drop_dead_letter(prompts, first, "no node can sample it")
    assert await balance(run) == (1, 0, 0, {"dead_letter": 1})
    assert not await run.ledger.drop_dead_letter(prompts, first, "again")
    ((_, letter),) = await run.client.xrange(run.keys.dead_letters)
    assert letter[b"m"] == first.payload
    assert letter[b"stream"].decode() == run.keys.prompts
    assert letter[b"reason"] == b"no node can sample it"
    # The other order of the group is a dead letter too, but the group is dropped once.
    assert not await run.ledger.drop_dead_letter(prompts, second, "nor this")
    assert await balance(run) == (1, 0, 0, {"dead_letter": 1})
    assert await run.lengths() == {"prompts": 0, "trajectories": 0, "groups": 0, "dead_letters": 2}


async def test_a_dead_letter_of_an_unknown_group_is_kept(run: Run) -> None:
    await run.client.xadd(run.keys.trajectories, {"m": b"rubbish"})
    trajectories = run.stream(run.keys.trajectories)
    (entry,) = await trajectories.read(1, block_s=0.01)
    assert await run.ledger.drop_dead_letter(trajectories, entry, "not a message")
    assert await balance(run) == (0, 0, 0, {})
    assert (await run.lengths())["dead_letters"] == 1


async def test_an_entry_without_payload_is_a_dead_letter_of_the_group_it_names(run: Run) -> None:
    await run.issue(orders=1)
    (entry,) = await run.stream(run.keys.prompts).read(1, block_s=0.01)
    await run.client.xadd(run.keys.trajectories, {"g": entry.group, "s": entry.state})
    trajectories = run.stream(run.keys.trajectories)
    (empty,) = await trajectories.read(1, block_s=0.01)
    assert await run.ledger.drop_dead_letter(trajectories, empty, "not a message")
    assert await balance(run) == (1, 0, 0, {"dead_letter": 1})
    assert (await run.lengths())["dead_letters"] == 1


async def test_an_entry_is_finished_without_a_result(run: Run) -> None:
    await run.issue(orders=1)
    prompts = run.stream(run.keys.prompts)
    (entry,) = await prompts.read(1, block_s=0.01)
    for _ in range(2):
        await prompts.finish(entry)
        assert await prompts.length() == 0
        assert await pending(run) == []


async def test_each_settled_group_wakes_the_feeder(run: Run) -> None:
    await run.issue()
    await run.sample_all()
    await run.score_all()
    assert await run.client.xlen(run.keys.events) == 0
    await run.train_all()
    ((_, event),) = await run.client.xrange(run.keys.events)
    assert event == {b"group": b"g"}


async def test_streams_come_back_after_redis_lost_them(run: Run) -> None:
    await run.client.flushall()
    trajectories = run.stream(run.keys.trajectories)
    assert await trajectories.read(1, block_s=0.01) == []
    assert await trajectories.claim_abandoned(0, 1) == []
    await run.put_trajectory(group_id="g")
    assert len(await trajectories.read(1, block_s=0.01)) == 1
