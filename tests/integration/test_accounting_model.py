"""Invariant 1 under random interleavings, on a real Redis, against a model of the account.

Hypothesis plays rollout nodes, reward nodes, the trainer and the feeder, kills any of them, lets
the dead answer late and twice, puts rubbish on the streams, replays dead letters and goes back to
checkpoints. After each step the ledger has to say what the model says; at the end of each example
healthy nodes have to be able to settle everything. PERL_MODEL_EXAMPLES=2000 makes it run longer.
"""

import asyncio
import os
from typing import Any

import hypothesis.strategies as st
import msgpack
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import (
    MalformedMessage,
    PolicyVersion,
    PromptTask,
    ScoredGroup,
    ScoredOrder,
    TrajectoryBatch,
    decode,
    encode,
)
from shared.wire.queues import Entry, WorkStream
from shared.wire.verdicts import Verdicts
from tests.builders import batch, reward, task

EXAMPLES = int(os.environ.get("PERL_MODEL_EXAMPLES", "40"))
IMAGES = {"ab" * 32: b"one", "cd" * 32: b"two"}
KINDS = ("prompts", "trajectories", "groups")

kinds = st.sampled_from(KINDS)
nodes = st.sampled_from(("a", "b"))
groups = st.sampled_from(("g0", "g1", "g2"))


class Account(RuleBasedStateMachine):
    """The run as every party sees it, and what its ledger has to say."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.client = self.do(connect(url, 10.0))
        self.do(self.client.flushall())
        self.keys = Keys("model")
        self.ledger = Ledger(self.client, self.keys)
        self.incarnation, self.step = 1, 0
        self.issued: set[str] = set()
        self.settled: dict[str, str] = {}
        self.checkpoint: dict[str, str] = {}
        self.held: dict[tuple[str, str], list[Entry]] = {}
        self.late: list[tuple[str, str, Entry]] = []
        self.do(self.ledger.restore({}))

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    def stream(self, kind: str, node: str) -> WorkStream:
        return WorkStream(self.client, getattr(self.keys, kind), f"{kind}-{node}")

    def tasks(self, group: str) -> list[PromptTask]:
        issued_at = PolicyVersion(incarnation=self.incarnation, step=self.step)
        return [task(group_id=group, order_index=i, issued_at=issued_at) for i in range(2)]

    def take(self, stream: WorkStream, count: int) -> list[Entry]:
        """Read without waiting: the server looks at expired waits ten times a second only."""
        (state,) = self.do(self.client.xinfo_groups(stream.name))
        first = f"({state['last-delivered-id'].decode()}"
        waiting = self.do(self.client.xrange(stream.name, min=first, count=1))
        return self.do(stream.read(count, block_s=1.0)) if waiting else []

    # The feeder

    @rule(group=groups)
    def issue(self, group: str) -> None:
        done = self.do(self.ledger.issue(self.tasks(group), IMAGES))
        assert done == (group not in self.issued)
        self.issued.add(group)

    # Any node: read, take over, vanish

    @rule(kind=kinds, node=nodes)
    def read(self, kind: str, node: str) -> None:
        entries = self.take(self.stream(kind, node), 2)
        self.held.setdefault((kind, node), []).extend(entries)

    @rule(kind=kinds, node=nodes)
    def take_over(self, kind: str, node: str) -> None:
        mine = self.held.setdefault((kind, node), [])
        mine.extend(self.do(self.stream(kind, node).claim_abandoned(0, 2)))

    @rule(kind=kinds, node=nodes)
    def crash(self, kind: str, node: str) -> None:
        self.held.pop((kind, node), None)

    @rule(kind=kinds, node=nodes)
    def fall_silent(self, kind: str, node: str) -> None:
        """Cut off, and not dead: what it has in hand it answers late."""
        self.late += [(kind, node, one) for one in self.held.pop((kind, node), [])]

    # Work and its results

    @rule(kind=kinds, node=nodes, twice=st.booleans(), drop=st.booleans())
    def answer(self, kind: str, node: str, twice: bool, drop: bool) -> None:
        mine = self.held.get((kind, node))
        if mine:
            entry = mine.pop(0)
            if twice:
                self.late.append((kind, node, entry))
            self.work(kind, node, entry, drop)

    @precondition(lambda self: self.late)
    @rule(drop=st.booleans(), place=st.integers(0, 100))
    def answer_late(self, drop: bool, place: int) -> None:
        self.work(*self.late.pop(place % len(self.late)), drop)

    def work(self, kind: str, node: str, entry: Entry, drop: bool = False) -> None:
        handler = {"prompts": self.sample, "trajectories": self.score, "groups": self.train}[kind]
        try:
            handler(self.stream(kind, node), entry, drop)
        except MalformedMessage as error:
            if self.do(self.ledger.drop_dead_letter(self.stream(kind, node), entry, str(error))):
                # True also for an entry without a group: only those of a known group settle one.
                self.note_dead_letter(entry)

    def note_dead_letter(self, entry: Entry) -> None:
        if entry.group:
            self.settle(entry.group, "dropped:dead_letter")
            return
        try:
            _, _, fields = msgpack.unpackb(entry.payload)
        except (ValueError, TypeError):
            return
        self.settle(fields["group_id"], "dropped:dead_letter")

    def sample(self, stream: WorkStream, entry: Entry, drop: bool) -> None:
        asked = decode(PromptTask, entry.payload)
        if drop:
            reason = "image_missing"
            if self.do(
                self.ledger.drop(asked.group_id, asked.issued_at, reason, stream.name, entry)
            ):
                self.settle(asked.group_id, f"dropped:{reason}")
            return
        answered = TrajectoryBatch(**dict(batch()) | {"task": asked})
        self.do(stream.hand_over(entry, self.keys.trajectories, encode(answered)))

    def score(self, stream: WorkStream, entry: Entry, drop: bool) -> None:
        answered = decode(TrajectoryBatch, entry.payload)
        scored = ScoredOrder(batch=answered, rewards=(reward(1.0), reward(0.0)), scored_s=0.0)
        orders = self.do(self.ledger.collect(entry, scored, encode(scored)))
        if orders is None:
            return
        asked = answered.task
        if drop:
            reason = "uniform_reward"
            if self.do(
                self.ledger.drop(asked.group_id, asked.issued_at, reason, stream.name, entry)
            ):
                self.settle(asked.group_id, f"dropped:{reason}")
            return
        decoded = [decode(ScoredOrder, data) for data in orders]
        assert sorted(one.batch.task.order_index for one in decoded) == [0, 1]
        group = ScoredGroup(group_id=asked.group_id, orders=tuple(decoded))
        self.do(self.ledger.forward(entry, group, asked.issued_at))

    def train(self, stream: WorkStream, entry: Entry, drop: bool) -> None:
        group = decode(ScoredGroup, entry.payload)
        issued_at = group.orders[0].batch.task.issued_at
        if drop:
            if self.do(self.ledger.drop(group.group_id, issued_at, "stale", stream.name, entry)):
                self.settle(group.group_id, "dropped:stale")
            return
        if self.do(self.ledger.train(group.group_id, issued_at, self.step + 1, entry.id)):
            self.step += 1
            self.settle(group.group_id, f"trained:{self.step}")

    def settle(self, group: str, state: str) -> None:
        assert group in self.issued, f"{group} was settled and never issued"
        assert group not in self.settled, f"{group} is {self.settled[group]}, and again {state}"
        self.settled[group] = state

    # Faults

    @rule(kind=kinds, group=groups)
    def put_unknown_version(self, kind: str, group: str) -> None:
        fields = self.tasks(group)[0].model_dump()
        payload = msgpack.packb(["PromptTask", 99, fields])
        self.do(self.client.xadd(getattr(self.keys, kind), {"m": payload}))

    @rule(kind=kinds, group=groups, length=st.integers(1, 40))
    def put_damaged(self, kind: str, group: str, length: int) -> None:
        """A message of ours that ends early: only what stands beside it tells its group."""
        payload = encode(self.tasks(group)[0])[:length]
        fields = {"m": payload, "g": group, "s": f"in_flight:{self.incarnation}"}
        self.do(self.client.xadd(getattr(self.keys, kind), fields))

    @rule(kind=kinds)
    def put_rubbish(self, kind: str) -> None:
        self.do(self.client.xadd(getattr(self.keys, kind), {"m": b"\xc1rubbish"}))

    @rule()
    def replay(self) -> None:
        """Answer each dead letter of a dropped group by a new attempt."""
        for group in [g for g, state in self.settled.items() if state == "dropped:dead_letter"]:
            letters = [
                letter.decode()
                for letter, fields in self.do(self.client.xrange(self.keys.dead_letters))
                if fields.get(b"g") == group.encode()
            ]
            again = f"{group}.2"
            if letters:
                done = self.do(self.ledger.issue(self.tasks(again), IMAGES, letters))
                assert done == (again not in self.issued)
                self.issued.add(again)

    # The trainer's host

    @rule()
    def write_checkpoint(self) -> None:
        self.checkpoint = self.do(self.ledger.settled())

    @rule()
    def resume(self) -> None:
        self.incarnation += 1
        self.settled = dict(self.checkpoint)
        self.issued = set(self.checkpoint)
        self.do(self.ledger.restore(self.checkpoint))

    # What must hold

    @invariant()
    def the_ledger_agrees(self) -> None:
        counts = self.do(self.ledger.counts())
        assert counts.balanced()
        assert self.do(self.ledger.settled()) == self.settled
        # What decides about later questions is known of every settled group.
        assert self.settled.keys() <= self.do(Verdicts(self.client, self.keys).all()).keys()
        assert counts.issued == len(self.issued)
        assert counts.in_flight == len(self.issued) - len(self.settled)
        assert counts.trained == sum(one.startswith("trained") for one in self.settled.values())

    @invariant()
    def images_live_as_long_as_their_groups(self) -> None:
        kept = self.do(self.client.keys(self.keys.image_prefix + "*"))
        assert bool(kept) == (len(self.issued) > len(self.settled))

    def teardown(self) -> None:
        """Nothing is lost: what is in flight can be settled by nodes that are well."""
        for _ in range(2 * len(KINDS)):
            for kind in KINDS:
                stream = self.stream(kind, "heir")
                entries = self.do(stream.claim_abandoned(0, 100))
                for entry in entries + self.take(stream, 100):
                    self.work(kind, "heir", entry)
        self.the_ledger_agrees()
        assert self.do(self.ledger.counts()).in_flight == 0
        lengths = [self.do(self.client.xlen(getattr(self.keys, kind))) for kind in KINDS]
        assert lengths == [0, 0, 0]
        assert self.do(self.client.keys(self.keys.image_prefix + "*")) == []
        self.close()

    def close(self) -> None:
        self.do(self.client.aclose())
        self.runner.close()


def test_no_interleaving_loses_or_repeats_a_group(redis_url: str) -> None:
    run_state_machine_as_test(
        lambda: Account(redis_url),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
