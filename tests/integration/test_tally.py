"""What a step says of all groups, and the end of resampling, on a real ledger."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from services.trainer.rank.intake import Intake
from services.trainer.rank.tally import DropLimit, StepTally
from shared.config import Config
from shared.errors import UserError
from shared.service.connection import connect
from shared.wire.counts import Scores
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, ScoredGroup, ScoredOrder, encode
from shared.wire.queues import Entry, WorkStream
from shared.wire.runstate import RunState
from shared.wire.verdicts import Verdicts
from tests.builders import batch, reward, task

V2 = PolicyVersion(incarnation=2, step=5)


class Run:
    """A run's ledger with the hands of feeder, rollout and reward node."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client, self.keys = client, Keys("tally-test")
        self.ledger = Ledger(client, self.keys)
        self.trajectories = WorkStream(client, self.keys.trajectories, "one")

    async def scored(self, name: str, *totals: float) -> tuple[Entry, ScoredGroup]:
        """A group of one order that has just been scored, and the entry that carried it."""
        await self.ledger.issue([task(group_id=name, orders=1)], {})
        carried = batch(group_id=name, orders=1)
        await self.client.xadd(self.keys.trajectories, {"m": encode(carried)})
        [entry] = await self.trajectories.read(1, 1.0)
        order = ScoredOrder(
            batch=carried, rewards=tuple(reward(total) for total in totals), scored_s=0.0
        )
        assert await self.ledger.collect(entry, order, encode(order)) is not None
        return entry, ScoredGroup(group_id=name, orders=(order,))

    async def keep(self, name: str, *totals: float) -> list[bool]:
        entry, group = await self.scored(name, *totals)
        return [await self.ledger.forward(entry, group, V2) for _ in range(2)]

    async def drop(self, name: str, *totals: float, reason: str = "uniform_reward") -> list[bool]:
        entry, group = await self.scored(name, *totals)
        stream, sums = self.keys.trajectories, group.score_sums()
        return [await self.ledger.drop(name, V2, reason, stream, entry, sums) for _ in range(2)]


@pytest.fixture
async def run(redis_url: str) -> AsyncIterator[Run]:
    client = await connect(redis_url, timeout_s=10)
    run = Run(client)
    await run.trajectories.create()
    await WorkStream(client, run.keys.groups, "one").create()
    yield run
    await client.aclose()


def config(**trainer: int) -> Config:
    return Config.model_validate(
        {
            "run": "tally-test",
            "model": {"path": "model"},
            "data": {"train": "train.jsonl"},
            "trainer": {"groups_per_step": 2, **trainer},
        }
    )


async def test_scores_of_kept_and_dropped_groups_count_once(run: Run) -> None:
    assert await run.keep("g1", 1.0, 0.0) == [True, False]
    assert await run.drop("g2", 1.0, 1.0) == [True, False]
    assert await run.ledger.scores() == Scores(responses=4, reward=3, accuracy=3, format=4)
    await run.ledger.restore({})
    assert await run.ledger.scores() == Scores()


async def test_a_step_tells_its_own_share(run: Run) -> None:
    tally = StepTally(run.client, run.keys)
    await run.drop("before", 1.0, 1.0)
    await tally.begin()
    await run.keep("g1", 1.0, 0.0)
    await run.drop("g2", 0.0, 0.0)
    await run.drop("g3", 0.0, 0.0, reason="truncated")
    figures = await tally.close(trained=1)
    assert figures["groups_dropped"] == {"uniform_reward": 2, "truncated": 1}
    assert figures["groups_dropped_step"] == {"uniform_reward": 1, "truncated": 1}
    assert figures["dropped_share"] == pytest.approx(2 / 3)
    assert figures["accuracy_all"] == figures["reward_all"] == pytest.approx(1 / 6)
    assert figures["format_all"] == 1.0
    assert (figures["groups_skipped"], figures["skipped_share"]) == ({}, 0.0)
    quiet = await tally.close(trained=1)
    assert (quiet["groups_dropped_step"], quiet["dropped_share"]) == ({}, 0.0)
    assert quiet["accuracy_all"] is None


async def test_a_step_tells_how_many_questions_were_skipped(run: Run) -> None:
    tally = StepTally(run.client, run.keys)
    await Verdicts(run.client, run.keys).skip({"easy": 5})
    await tally.begin()
    await Verdicts(run.client, run.keys).skip({"easy": 7, "hard": 1})
    await run.drop("g1", 0.0, 0.0)
    figures = await tally.close(trained=1)
    assert figures["groups_skipped"] == {"easy": 7, "hard": 1}
    assert figures["groups_skipped_step"] == {"easy": 2, "hard": 1}
    assert figures["skipped_share"] == pytest.approx(3 / 5)
    assert (await run.ledger.counts()).balanced()


async def test_a_run_that_drops_every_group_ends(run: Run) -> None:
    settings = config(max_dropped_per_step=3)
    intake = Intake(run.client, run.keys, settings, incarnation=2)
    await RunState(run.client, run.keys).update(incarnation=2)
    await intake.limit.begin()
    for name in ("g1", "g2", "g3"):
        await run.drop(name, 1.0, 1.0)
    await intake.limit.check(6)
    await run.drop("g4", 0.0, 0.0, reason="truncated")
    with pytest.raises(UserError) as caught:
        await intake.batch(V2)
    assert str(caught.value) == (
        "trainer: 4 groups were dropped while step 6 was collected (truncated 1, uniform_reward 3)"
        ", more than trainer.max_dropped_per_step (3); raise sampling.temperature or sampling.n, or"
        " train on questions that are neither solved nor hopeless (docs/signals.md)"
    )
    assert (await run.ledger.counts()).balanced()


async def test_the_commonest_cause_of_dead_letters_ends_the_line(run: Run) -> None:
    prompts = WorkStream(run.client, run.keys.prompts, "one")
    await prompts.create()
    limit = DropLimit(run.client, run.keys, config(max_dropped_per_step=2).trainer)
    await limit.begin()
    for number, why in enumerate(("612 tokens", "640 tokens", "no picture", "633 tokens")):
        await run.ledger.issue([task(group_id=f"g{number}", orders=1)], {})
        [entry] = await prompts.read(1, 1.0)
        await run.ledger.drop_dead_letter(prompts, entry, f"the prompt has {why}")
    with pytest.raises(UserError) as caught:
        await limit.check(1)
    assert str(caught.value).endswith(
        "fix what the services could not process (perl-rl dead-letters RUN); 3 of the last 4 dead "
        "letters: group g3: the prompt has 633 tokens"
    )
