"""A reward node's work on a real Redis: groups scored, assembled, filtered, taken over."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import numpy as np
import pytest

from services.reward.scoring import RewardContext
from shared.config import RewardConfig
from shared.config.reward import OverlongConfig
from shared.service.connection import connect
from shared.wire.counts import Scores
from shared.wire.messages import (
    SCHEMA_VERSION,
    PolicyVersion,
    PromptTask,
    Reward,
    ScoredGroup,
    encode,
)
from shared.wire.queues import WorkStream
from tests.integration.reward_bench import RIGHT, WRONG, Bench, config, trajectories

attempts: list[str] = []
gates: list[asyncio.Event] = []


async def waits_for_gate(
    text: str, gold: str, kind: str, task: PromptTask | None, context: RewardContext
) -> Reward:
    """A reward function that ends when the test lets it."""
    attempts.append(text)
    await gates[-1].wait()
    return Reward(total=float(text == RIGHT), accuracy=0, format=0, extracted=None)


def blocks_on_wrong(text: str, *_: Any) -> Reward:
    """A plain reward function that never returns for a wrong response."""
    if text == WRONG:
        threading.Event().wait()
    return Reward(total=float(text == RIGHT), accuracy=0, format=0, extracted=None)


async def fails(*_: Any) -> Reward:
    """A reward function with a bug."""
    attempts.append("fails")
    raise ZeroDivisionError("a bug in the reward function")


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    gates.append(asyncio.Event())
    attempts.clear()
    client = await connect(redis_url, timeout_s=10)
    yield Bench(client, config(redis_url))
    await client.aclose()


async def test_orders_are_assembled_in_their_order(bench: Bench) -> None:
    await bench.issue("g", orders=3)
    async with bench.node():
        for index, texts in ((2, (WRONG, WRONG)), (0, (RIGHT, WRONG)), (1, (RIGHT, RIGHT))):
            await bench.answer("g", index, *texts, orders=3)
        (group,) = await bench.groups(1)
    assert [order.batch.task.order_index for order in group.orders] == [0, 1, 2]
    assert group.rewards().tolist() == [1.0, 0.1, 1.0, 1.0, 0.1, 0.1]
    assert group.orders[1].rewards[0].extracted == "B"
    await bench.until_drained()
    assert (await bench.ledger.counts()).in_flight == 1


async def test_a_group_waits_for_all_its_orders(bench: Bench) -> None:
    await bench.issue("g")
    async with bench.node():
        await bench.answer("g", 0, RIGHT, WRONG)
        await bench.until_drained()
        assert await bench.client.xlen(bench.keys.groups) == 0
        await bench.answer("g", 1, RIGHT, WRONG)
        await bench.groups(1)


async def test_each_order_is_graded_by_its_own_gold_answer(bench: Bench) -> None:
    await bench.issue("g")
    async with bench.node():
        await bench.answer("g", 0, RIGHT, WRONG, answer="B")
        await bench.answer("g", 1, RIGHT, WRONG, answer="A")
        (group,) = await bench.groups(1)
    assert [reward.accuracy for order in group.orders for reward in order.rewards] == [1, 0, 0, 1]


async def test_a_group_without_signal_is_dropped_for_that_reason(bench: Bench) -> None:
    await bench.issue("flat")
    await bench.issue("good")
    async with bench.node():
        for index in range(2):
            await bench.answer("flat", index, WRONG, WRONG)
            await bench.answer("good", index, WRONG, RIGHT)
        counts = await bench.until(lambda counts: counts.in_flight == 1)
        (group,) = await bench.groups(1)
    assert group.group_id == "good"
    assert counts.dropped == {"uniform_reward": 1}
    text = bench.metrics.registry
    assert (
        text.get_sample_value("perl_reward_groups_dropped_total", {"reason": "uniform_reward"}) == 1
    )
    assert text.get_sample_value("perl_reward_responses_total", {"source": "option"}) == 8


async def test_a_malformed_entry_is_buried_and_the_node_goes_on(bench: Bench) -> None:
    await bench.issue("broken")
    await bench.issue("good")
    fields = trajectories("broken", 0, RIGHT).model_dump() | {"sampled_s": "soon"}
    async with bench.node():
        await bench.client.xadd(bench.keys.trajectories, {"m": b"rubbish"})
        await bench.client.xadd(bench.keys.trajectories, {"other": b"no payload at all"})
        await bench.client.xadd(
            bench.keys.trajectories,
            {"m": msgpack.packb(["TrajectoryBatch", SCHEMA_VERSION, fields])},
        )
        for index in range(2):
            await bench.answer("good", index, WRONG, RIGHT)
        counts = await bench.until(lambda counts: bool(counts.dropped))
        await bench.groups(1)
        await bench.until_drained()
    assert counts.dropped == {"dead_letter": 1}
    letters = [fields for _, fields in await bench.client.xrange(bench.keys.dead_letters)]
    reasons = {letter[b"m"]: letter[b"reason"] for letter in letters}
    assert b"not a message" in reasons.pop(b"rubbish")
    assert b"not a message" in reasons.pop(b"")
    (named,) = reasons.values()
    assert b"field 'sampled_s'" in named


async def test_a_gold_answer_of_another_kind_drops_the_group(bench: Bench) -> None:
    await bench.issue("g", answer="cat")
    async with bench.node():
        for index in range(2):
            await bench.answer("g", index, RIGHT, answer="cat")
        counts = await bench.until(lambda counts: counts.in_flight == 0)
        await bench.until_drained()
    assert counts.dropped == {"ungradable_gold": 1}


async def test_a_failing_reward_function_is_tried_again_then_given_up(bench: Bench) -> None:
    await bench.issue("g", orders=1)
    async with bench.node(function=f"{__name__}:fails", max_attempts=2):
        await bench.answer("g", 0, RIGHT, orders=1)
        counts = await bench.until(lambda counts: counts.in_flight == 0)
        assert counts.dropped == {"dead_letter": 1}
    assert len(attempts) == 2
    ((_, letter),) = await bench.client.xrange(bench.keys.dead_letters)
    assert letter[b"reason"] == b"not scored in 2 attempts"


async def returns_what_is_said(
    text: str, gold: str, kind: str, task: PromptTask | None, context: RewardContext
) -> Reward:
    """A reward function with a bug: a response that is a number is its reward."""
    attempts.append(text)
    return Reward(total=float(text), accuracy=0, format=0, extracted=None)


def nan_for_the_last(group: ScoredGroup, config: RewardConfig) -> list[float]:
    """A group function with a bug."""
    return [*group.rewards()[:-1], math.nan]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e308"])
async def test_a_reward_that_is_no_number_drops_its_group_alone(
    bench: Bench, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.issue("bad", sample_id="sample-9")
    await bench.issue("good")
    async with bench.node(function=f"{__name__}:returns_what_is_said"):
        await bench.answer("bad", 0, "0.5", "1", sample_id="sample-9")
        await bench.answer("bad", 1, "0.5", value, sample_id="sample-9")
        for index in range(2):
            await bench.answer("good", index, "0.25", "1")
        (group,) = await bench.groups(1)
        await bench.until_drained()
    assert group.group_id == "good"
    counts = await bench.ledger.counts()
    assert counts.dropped == {"bad_reward": 1} and counts.in_flight == 1 and counts.balanced()
    assert attempts.count(value) == 1, "it is not tried again"
    (said,) = [one.getMessage() for one in caplog.records if "bad" in one.getMessage()]
    assert said.startswith(
        f"sample sample-9, group bad, order 1: reward.function '{__name__}:returns_what_is_said' "
        "returned a Reward whose field 'total' must be "
    )
    # Sums over the sound group alone.
    assert await bench.ledger.scores() == Scores(responses=4, reward=2.5)


async def test_a_group_function_that_gives_no_number_drops_the_group(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.issue("g", sample_id="sample-9")
    async with bench.node(group_function=f"{__name__}:nan_for_the_last"):
        for index in range(2):
            await bench.answer("g", index, RIGHT, WRONG, sample_id="sample-9")
        counts = await bench.until(lambda counts: counts.in_flight == 0)
        await bench.until_drained()
    assert counts.dropped == {"bad_reward": 1}
    assert "sample sample-9" in caplog.text
    assert f"'{__name__}:nan_for_the_last' returned nan as reward 4 of 4" in caplog.text
    assert await bench.ledger.scores() == Scores()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5, -120.0])
async def test_log_probabilities_that_cannot_be_are_dead_letters(
    bench: Bench, value: float
) -> None:
    await bench.issue("g")
    given = trajectories("g", 0, RIGHT, WRONG)
    strange = np.array([-0.5, value, -1.0], dtype=np.float32)
    first = given.responses[0].model_copy(update={"logprobs": strange})
    broken = given.model_copy(update={"responses": (first, *given.responses[1:])})
    async with bench.node():
        await bench.client.xadd(bench.keys.trajectories, {"m": encode(broken)})
        counts = await bench.until(lambda counts: counts.in_flight == 0)
    assert counts.dropped == {"dead_letter": 1}
    ((_, letter),) = await bench.client.xrange(bench.keys.dead_letters)
    assert b"field 'responses.0': a log-probability of" in letter[b"reason"]


async def test_length_is_shaped_by_the_tasks_own_limit(bench: Bench) -> None:
    await bench.issue("g", orders=1)
    # Three tokens each, of sixteen at most.
    overlong = OverlongConfig(buffer_tokens=14, penalty=0.7)
    async with bench.node(overlong=overlong):
        await bench.answer("g", 0, RIGHT, WRONG, orders=1)
        (group,) = await bench.groups(1)
    assert [one.penalty for one in group.orders[0].rewards] == [pytest.approx(-0.05)] * 2
    assert group.rewards().tolist() == pytest.approx([0.95, 0.05])


async def test_work_of_a_dead_node_is_taken_over(bench: Bench) -> None:
    await bench.issue("g")
    dead = WorkStream(bench.client, bench.keys.trajectories, "dead")
    await dead.create()
    for index in range(2):
        await bench.answer("g", index, WRONG, RIGHT)
    assert len(await dead.read(10, block_s=0.1)) == 2
    async with bench.node("heir"):
        await bench.groups(1)
        await bench.until_drained()


async def takes_a_moment(
    text: str, gold: str, kind: str, task: PromptTask | None, context: RewardContext
) -> Reward:
    """A reward function of 0.3 s."""
    await asyncio.sleep(0.3)
    return Reward(total=float(text == RIGHT), accuracy=0, format=0, extracted=None)


async def test_work_of_a_dead_node_is_taken_over_while_new_work_waits(bench: Bench) -> None:
    names = ["abandoned", *(f"g{number}" for number in range(12))]
    for name in names:
        await bench.issue(name, orders=1)
        await bench.answer(name, 0, WRONG, RIGHT, orders=1)
    dead = WorkStream(bench.client, bench.keys.trajectories, "dead")
    await dead.create()
    assert len(await dead.read(1, block_s=0.1)) == 1
    async with bench.node("heir", function=f"{__name__}:takes_a_moment", concurrent_tasks=1):
        async with asyncio.timeout(30.0):
            while not await bench.client.hexists(bench.keys.assembly("abandoned"), "done"):
                await asyncio.sleep(0.01)
        assert await bench.client.xlen(bench.keys.trajectories) > 5


async def test_slow_work_is_not_taken_over_from_a_live_node(bench: Bench) -> None:
    await bench.issue("g", orders=1)
    slow = {"function": f"{__name__}:waits_for_gate"}
    async with bench.node("one", **slow), bench.node("two", **slow):
        await bench.answer("g", 0, RIGHT, WRONG, orders=1)
        busy = await bench.heartbeat(lambda node: node.working_on == 1)
        # Several times as long as a silent node may keep its work.
        deadline = asyncio.get_running_loop().time() + 4 * bench.config.reward.lost_after_s
        while asyncio.get_running_loop().time() < deadline:
            (entry,) = await bench.client.xpending_range(
                bench.keys.trajectories, "workers", "-", "+", 10
            )
            assert entry["consumer"].decode() == busy.name
            assert entry["times_delivered"] == 1
            await asyncio.sleep(0.05)
        gates[-1].set()
        await bench.groups(1)
    assert len(attempts) == 2


async def test_a_batch_that_takes_too_long_is_given_up(bench: Bench) -> None:
    await bench.issue("g", orders=1)
    slow = {"function": f"{__name__}:waits_for_gate", "task_timeout_s": 0.1, "max_attempts": 1}
    async with bench.node(**slow):
        await bench.answer("g", 0, RIGHT, orders=1)
        counts = await bench.until(lambda counts: counts.in_flight == 0)
    assert counts.dropped == {"dead_letter": 1}


async def test_a_function_that_never_returns_drops_its_group_and_not_the_node(
    bench: Bench,
) -> None:
    for name in ("blocked", "sound"):
        await bench.issue(name, orders=1)
    async with bench.node(function=f"{__name__}:blocks_on_wrong", function_timeout_s=0.2):
        await bench.answer("blocked", 0, WRONG, RIGHT, orders=1)
        await bench.until(lambda counts: counts.in_flight == 1)
        await bench.answer("sound", 0, RIGHT, RIGHT + " ", orders=1)
        (group,) = await bench.groups(1)
    assert group.group_id == "sound"
    assert (await bench.ledger.counts()).dropped == {"reward_timeout": 1}


async def test_a_node_that_stops_finishes_what_it_has_in_hand(bench: Bench) -> None:
    await bench.issue("g", orders=1)
    await bench.issue("late", orders=1)
    async with bench.node(function=f"{__name__}:waits_for_gate", concurrent_tasks=1) as node:
        await bench.answer("g", 0, RIGHT, WRONG, orders=1)
        await bench.heartbeat(lambda node: node.working_on == 1)
        await bench.answer("late", 0, RIGHT, WRONG, orders=1)
        asyncio.get_running_loop().call_later(0.3, gates[-1].set)
    # The block has stopped the node while the gate was shut.
    assert node.state == "draining"
    (group,) = await bench.groups(1)
    assert group.group_id == "g"
    assert (await bench.registry.nodes()) == ([], [])
    async with bench.node():
        await bench.groups(2)


async def test_many_groups_over_several_nodes_are_each_forwarded_once(bench: Bench) -> None:
    names = [f"g{number}" for number in range(60)]
    for name in names:
        await bench.issue(name, orders=3)
    async with bench.node("one"), bench.node("two"), bench.node("three"):
        for index in range(3):
            for name in names:
                await bench.answer(name, index, WRONG, RIGHT, orders=3)
        groups = await bench.groups(len(names))
        await bench.until_drained()
    assert sorted(group.group_id for group in groups) == sorted(names)
    assert all(len(group.orders) == 3 for group in groups)
    counts = await bench.ledger.counts()
    assert counts.balanced() and counts.in_flight == len(names)


async def test_work_of_a_lost_history_is_discarded(bench: Bench) -> None:
    await bench.issue("g")
    old = PolicyVersion(incarnation=1, step=9)
    async with bench.node():
        for index in range(2):
            await bench.answer("g", index, WRONG, RIGHT, issued_at=old)
        await bench.until_drained()
        assert await bench.client.xlen(bench.keys.groups) == 0
        for index in range(2):
            await bench.answer("g", index, WRONG, RIGHT)
        await bench.groups(1)


async def test_gauges_show_the_queues(bench: Bench) -> None:
    await bench.issue("g")
    async with bench.node() as node:
        await bench.answer("g", 0, WRONG, RIGHT)
        await bench.answer("g", 1, WRONG, RIGHT)
        await bench.groups(1)
        await node.refresh_metrics()
    value = bench.metrics.registry.get_sample_value
    assert value("perl_reward_queue_length", {"queue": "groups"}) == 1
    assert value("perl_reward_queue_length", {"queue": "prompts"}) == 2
