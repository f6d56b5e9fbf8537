"""A judge over real HTTP that fails, goes away and returns: claims are kept, no answer is wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest

from shared.config.reward import JudgeConfig
from shared.service.connection import connect
from shared.wire.queues import CONSUMER_GROUP
from tests.integration.reward_bench import WAIT_S, Bench, config
from tests.scripted_endpoint import Body, ScriptedEndpoint, text_of


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    client = await connect(redis_url, timeout_s=10)
    yield Bench(client, config(redis_url))
    await client.aclose()


def judge_at(url: str, outage_timeout_s: float = 60.0) -> JudgeConfig:
    endpoint = {"url": url, "model": "j", "retries": 0, "timeout_s": 10}
    fields = {"endpoint": endpoint, "timeout_s": 10, "outage_timeout_s": outage_timeout_s}
    return JudgeConfig.model_validate(fields)


def knows_cats(body: Body) -> str:
    return "yes" if "kitten" in text_of(body) else "no"


OPEN = {"answer": "cat", "kind": "text"}
KITTEN, DOG = r"<think></think>\boxed{kitten}", r"<think></think>\boxed{dog}"


@pytest.mark.parametrize("said", [500, "It depends."])
async def test_a_judge_that_fails_drops_the_group_and_scores_nothing(
    bench: Bench, said: int | str
) -> None:
    await bench.issue("g", **OPEN)
    with ScriptedEndpoint(lambda body: said).serving() as endpoint:
        async with bench.node(judge=judge_at(endpoint.url, 1.0), max_attempts=2) as node:
            await bench.answer("g", 0, KITTEN, orders=2, **OPEN)
            counts = await bench.until(lambda counts: counts.in_flight == 0)
            await bench.answer("g", 1, KITTEN, orders=2, **OPEN)
            await bench.until_drained()
            assert node.state == "ready"
    assert counts.dropped == {"judge_failed": 1}
    assert await bench.client.xlen(bench.keys.groups) == 0
    assert await bench.client.xlen(bench.keys.dead_letters) == 0
    value = bench.metrics.registry.get_sample_value
    assert value("perl_reward_groups_dropped_total", {"reason": "judge_failed"}) == 1
    assert value("perl_reward_failures_total") >= 2
    assert value("perl_reward_responses_total", {"source": "option"}) is None


async def test_a_judge_that_comes_back_loses_nothing(bench: Bench) -> None:
    await bench.issue("g", orders=1, **OPEN)

    def twice_down(body: Body) -> int | str:
        return 503 if len(endpoint.requests) <= 2 else knows_cats(body)

    endpoint = ScriptedEndpoint(twice_down)
    with endpoint.serving():
        async with bench.node(judge=judge_at(endpoint.url), max_attempts=1):
            await bench.answer("g", 0, KITTEN, DOG, orders=1, **OPEN)
            (group,) = await bench.groups(1)
            await bench.until_drained()
    assert group.rewards().tolist() == [1.0, 0.1]
    assert (await bench.ledger.counts()).dropped == {}


async def failures(bench: Bench, more_than: float) -> None:
    """Wait until that many attempts of the nodes have failed."""
    async with asyncio.timeout(WAIT_S):
        while bench.metrics.registry.get_sample_value("perl_reward_failures_total") <= more_than:
            await asyncio.sleep(0.01)


async def claims(bench: Bench) -> list[dict[str, Any]]:
    """The entries that a node has taken and not finished."""
    found: list[dict[str, Any]] = await bench.client.xpending_range(
        bench.keys.trajectories, CONSUMER_GROUP, "-", "+", 10
    )
    return found


async def test_claims_are_kept_while_the_judge_is_away(bench: Bench) -> None:
    for group in ("before", "during"):
        await bench.issue(group, orders=1, **OPEN)
    lost_after_s = bench.config.reward.lost_after_s
    with ExitStack() as judge:
        first = judge.enter_context(ScriptedEndpoint(knows_cats).serving())
        asks = {"judge": judge_at(first.url), "max_attempts": 1}
        async with bench.node("one", **asks), bench.node("two", **asks):
            await bench.answer("before", 0, KITTEN, DOG, orders=1, **OPEN)
            await bench.groups(1)
            scores, settled = await bench.ledger.scores(), await bench.ledger.counts()
            await asyncio.to_thread(judge.close)

            await bench.answer("during", 0, KITTEN, DOG, orders=1, **OPEN)
            busy = await bench.heartbeat(lambda node: node.working_on == 1)
            # Many times as long as it takes until the work of a silent node is taken over.
            for tries in range(8):
                await failures(bench, tries)
                [claim] = await claims(bench)
                assert claim["consumer"].decode() == busy.name
                assert claim["times_delivered"] == 1
                assert claim["time_since_delivered"] < 1000 * lost_after_s
            assert await bench.ledger.scores() == scores, "nothing counts as wrong"
            assert await bench.ledger.counts() == settled
            await bench.groups(1)

            with ScriptedEndpoint(knows_cats, port=first.port).serving():
                _, group = await bench.groups(2)
                await bench.until_drained()
    assert [one.accuracy for one in group.orders[0].rewards] == [1.0, 0.0]
    assert (await bench.ledger.counts()).dropped == {}


async def test_a_node_that_is_to_stop_does_not_wait_for_the_judge(bench: Bench) -> None:
    await bench.issue("g", orders=1, **OPEN)
    endpoint = ScriptedEndpoint(lambda body: 503)
    with endpoint.serving():
        async with bench.node("leaves", judge=judge_at(endpoint.url)):
            await bench.answer("g", 0, KITTEN, DOG, orders=1, **OPEN)
            await failures(bench, 0)
        assert len(await claims(bench)) == 1, "it is left to another node"
        endpoint.script = knows_cats
        async with bench.node("heir", judge=judge_at(endpoint.url)):
            [group] = await bench.groups(1)
    assert group.rewards().tolist() == [1.0, 0.1]


async def test_an_outage_that_lasts_too_long_drops_the_group(bench: Bench) -> None:
    await bench.issue("g", orders=1, **OPEN)
    gone = ScriptedEndpoint(knows_cats)
    with gone.serving():
        pass
    async with bench.node(judge=judge_at(gone.url, outage_timeout_s=1.0)):
        await bench.answer("g", 0, KITTEN, DOG, orders=1, **OPEN)
        counts = await bench.until(lambda counts: counts.in_flight == 0)
    assert counts.dropped == {"judge_failed": 1}
    assert (await bench.ledger.scores()).responses == 0
