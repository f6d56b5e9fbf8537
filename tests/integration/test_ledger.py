"""Invariant 1 on a real Redis: every issued group is trained once or dropped with a reason."""

from collections.abc import AsyncIterator

import pytest

from shared.wire.ledger import ImagesWanted
from shared.wire.messages import PolicyVersion, ScoredOrder, decode, encode
from tests.builders import task
from tests.integration.ledger_run import IMAGES, V2, Run, balance, running, scored_order


@pytest.fixture
async def run(redis_url: str) -> AsyncIterator[Run]:
    async with running(redis_url) as run:
        yield run


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


async def test_each_settled_group_wakes_the_feeder(run: Run) -> None:
    await run.issue()
    await run.sample_all()
    await run.score_all()
    assert await run.client.xlen(run.keys.events) == 0
    await run.train_all()
    ((_, event),) = await run.client.xrange(run.keys.events)
    assert event == {b"group": b"g"}


async def test_groups_of_a_step_are_settled_together_and_once(run: Run) -> None:
    names = [f"g{number:03d}" for number in range(70)]
    for name in names:
        await run.issue(name, orders=1)
    await run.sample_all()
    await run.score_all()
    entries = await run.stream(run.keys.groups, "trainer").read(100, block_s=0.01)
    trained = [(entry.group, V2, entry.id, None) for entry in entries]
    # A server that was restarted knows no script.
    await run.client.script_flush()
    for _ in range(2):
        await run.ledger.train_all(6, trained)
        assert await balance(run) == (70, 70, 0, {})
    assert await run.ledger.settled() == dict.fromkeys(names, "trained:6")
    assert await run.ledger.are_in_flight([("g000", V2), ("unknown", V2)]) == [False, False]


async def test_an_image_that_redis_has_is_not_sent_again(run: Run) -> None:
    names = dict.fromkeys(IMAGES)
    orders = [task(group_id="b", order_index=i) for i in range(2)]
    with pytest.raises(ImagesWanted) as wanted:
        await run.ledger.issue(orders, names)
    assert set(wanted.value.names) == set(IMAGES)
    assert await balance(run) == (0, 0, 0, {})
    await run.issue("a")
    assert await run.ledger.issue(orders, names)
    await run.sample_all()
    await run.score_all()
    first, second = await run.stream(run.keys.groups, "trainer").read(2, block_s=0.01)
    assert await run.train(first)
    assert await run.image_keys() == 2
    assert await run.train(second)
    assert await run.image_keys() == 0


async def test_a_complete_group_returns_the_orders_that_the_caller_lacks(run: Run) -> None:
    await run.issue(orders=3)
    await run.sample_all()
    first, second, last = await run.read()
    assert await run.collect(first) is None
    assert await run.collect(second) is None
    scored = scored_order(last)
    index = scored.batch.task.order_index
    [missing] = await run.ledger.collect(last, scored, encode(scored), held=[0, index]) or []
    assert decode(ScoredOrder, missing).batch.task.order_index == 1
