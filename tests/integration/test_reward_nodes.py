"""Reward nodes that hold scored orders, under random interleavings on a real Redis.

Two nodes share the orders of a few groups; each may die with what it holds, lose its claims and
work on all the same, and orders may come a second time. No group may be lost, handed on twice, or
dropped after it was handed on. PERL_MODEL_EXAMPLES=2000 makes the test run longer.
"""

import asyncio
import os
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from services.reward.assembly import Assembly
from services.reward.filters import build_filters
from services.reward.group_rewards import GroupRewards
from services.reward.scoring import Scorer
from shared.service.connection import connect
from shared.service.tracing import NO_SPANS
from shared.wire.messages import ScoredGroup, decode
from shared.wire.queues import Entry, WorkStream
from tests.integration.reward_bench import (
    RIGHT,
    WAIT_S,
    WRONG,
    Bench,
    NoExpressions,
    config,
)

EXAMPLES = int(os.environ.get("PERL_MODEL_EXAMPLES", "30"))
NODES = ("a", "b")
ORDERS = 2

GOOD, FLAT = (RIGHT, WRONG), (WRONG, WRONG)

nodes = st.sampled_from(NODES)
groups = st.sampled_from(("g0", "g1"))
indices = st.integers(0, ORDERS - 1)


class RewardNode:
    """A node's work on single entries, without its loops."""

    def __init__(self, bench: Bench, name: str) -> None:
        reward = bench.config.reward
        self.stream = WorkStream(bench.client, bench.keys.trajectories, name)
        self.handle = Assembly(
            self.stream,
            bench.ledger,
            Scorer(reward, NoExpressions(), None),
            GroupRewards(reward),
            build_filters(reward.filter, per_order=False),
            bench.metrics,
            NO_SPANS,
            recorded=False,
        ).handle

    async def take(self) -> list[Entry]:
        """An entry that no node has read, if there is one."""
        # A read that waits ends a tenth of a second later than it should.
        [state] = await self.stream.client.xinfo_groups(self.stream.name)
        after = f"({state['last-delivered-id'].decode()}"
        waiting = await self.stream.client.xrange(self.stream.name, min=after, count=1)
        return await self.stream.read(1, block_s=1.0) if waiting else []


class TwoNodes(RuleBasedStateMachine):
    """What two reward nodes do with the orders of a few groups."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        client = self.do(connect(url, WAIT_S))
        self.do(client.flushall())
        self.bench = Bench(client, config(url))
        self.nodes = {name: RewardNode(self.bench, name) for name in NODES}
        self.do(self.bench.ledger.restore({}))
        self.issued: set[str] = set()
        self.in_hand: dict[str, list[Entry]] = {name: [] for name in NODES}
        self.forwarded: dict[str, int] = {}

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    @rule(group=groups)
    def issue(self, group: str) -> None:
        if group not in self.issued:
            self.issued.add(group)
            self.do(self.bench.issue(group, orders=ORDERS))
            for index in range(ORDERS):
                self.do(self.bench.answer(group, index, *GOOD, orders=ORDERS))

    @rule(group=groups, index=indices, texts=st.sampled_from((GOOD, FLAT)))
    def come_twice(self, group: str, index: int, texts: tuple[str, ...]) -> None:
        """A second copy of an order, sampled anew; before the group is handed on it may be the one
        that counts."""
        if group in self.forwarded:
            self.do(self.bench.answer(group, index, *texts, orders=ORDERS))

    @rule(node=nodes)
    def read(self, node: str) -> None:
        self.in_hand[node] += self.do(self.nodes[node].take())

    @rule(node=nodes)
    def take_over(self, node: str) -> None:
        """The other node has lost its claim, and goes on working."""
        self.in_hand[node] += self.do(self.nodes[node].stream.claim_abandoned(0, 1))

    @rule(node=nodes)
    def read_and_work(self, node: str) -> None:
        for entry in self.do(self.nodes[node].take()):
            self.do(self.nodes[node].handle(entry))

    @rule(node=nodes, place=st.integers(0, 9))
    def work(self, node: str, place: int) -> None:
        if mine := self.in_hand[node]:
            self.do(self.nodes[node].handle(mine.pop(place % len(mine))))

    @rule(both=st.booleans())
    def work_at_the_same_time(self, both: bool) -> None:
        """Every node, or the first, on all that it has."""

        async def all_of_it() -> None:
            async with asyncio.TaskGroup() as several:
                for node in NODES if both else NODES[:1]:
                    for entry in self.in_hand[node]:
                        several.create_task(self.nodes[node].handle(entry))
                    self.in_hand[node] = []

        self.do(all_of_it())

    @rule(node=nodes)
    def die(self, node: str) -> None:
        """With the orders that it holds, and the entries in its hands."""
        self.in_hand[node] = []
        self.nodes[node] = RewardNode(self.bench, node)

    @invariant()
    def every_group_is_handed_on_once_and_whole(self) -> None:
        self.forwarded = {}
        for _, fields in self.do(self.bench.client.xrange(self.bench.keys.groups)):
            group = decode(ScoredGroup, fields[b"m"])
            assert group.group_id not in self.forwarded, "handed on twice"
            self.forwarded[group.group_id] = len(group.orders)
            indices = [order.batch.task.order_index for order in group.orders]
            assert indices == list(range(ORDERS))

    @invariant()
    def no_group_is_dropped(self) -> None:
        counts = self.do(self.bench.ledger.counts())
        assert counts.balanced() and counts.dropped == {}
        assert counts.in_flight == len(self.issued)

    def teardown(self) -> None:
        """A node that is well hands on what is left."""
        heir = RewardNode(self.bench, "heir")
        while True:
            entries = self.do(heir.stream.claim_abandoned(0, 100)) + self.do(heir.take())
            for entry in entries:
                self.do(heir.handle(entry))
            if not entries:
                break
        self.every_group_is_handed_on_once_and_whole()
        self.no_group_is_dropped()
        assert self.forwarded.keys() == self.issued
        self.do(self.bench.client.aclose())
        self.runner.close()


@pytest.mark.slow
def test_no_interleaving_of_nodes_loses_or_repeats_or_drops_a_group(redis_url: str) -> None:
    run_state_machine_as_test(
        lambda: TwoNodes(redis_url),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_a_copy_that_another_node_completes_does_not_drop_the_group(redis_url: str) -> None:
    client = await connect(redis_url, WAIT_S)
    bench = Bench(client, config(redis_url))
    await bench.ledger.restore({})
    first, second = RewardNode(bench, "a"), RewardNode(bench, "b")
    await bench.issue("g")
    await bench.answer("g", 0, *FLAT)
    [entry] = await first.take()
    await first.handle(entry)
    await bench.answer("g", 1, *GOOD)
    [entry] = await second.take()
    await second.handle(entry)
    await bench.groups(1)
    # The first node still holds its order, and makes a whole group of it and this copy.
    await bench.answer("g", 1, *FLAT)
    [entry] = await first.take()
    await first.handle(entry)

    counts = await bench.ledger.counts()
    assert counts.in_flight == 1 and counts.dropped == {} and counts.balanced()
    [handed_on] = await WorkStream(client, bench.keys.groups, "trainer").read(1, 0.1)
    (group,) = await bench.groups(1)
    assert await bench.ledger.train("g", group.orders[0].batch.task.issued_at, 1, handed_on.id)
    await client.aclose()
