"""Invariant 9 on a real Redis: a run that was killed asks what an undisturbed one asks.

Hypothesis chooses when the trainer is killed and how old its last checkpoint is; the feeder is the
real one. Groups are settled in the order of their numbers or in any other, some of them dropped;
questions that no longer carry a signal are skipped.
"""

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from services.trainer.control.feeder import Feeder
from services.trainer.plan.groups import GroupPlan, group_id
from services.trainer.rank.checkpoint_folder import CheckpointState
from shared.config import Config
from shared.sample import Sample
from shared.service.connection import connect
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, PromptTask, decode
from shared.wire.queues import WorkStream
from shared.wire.verdicts import Verdicts
from tests.scripted_sampler import demo_config

KEYS = Keys("test")
PATIENCE_S = 60.0
STEPS, GROUPS_PER_STEP = 3, 4
EVERY_DROPPED = 5
"""Every so many groups one is dropped, and another asked in its place."""

Accuracy = Callable[[int], float | None]
"""The accuracy of a group that the filters drop; None when they keep it."""


def without_a_score(index: int) -> float | None:
    """Drops some groups of any question: nothing is skipped later."""
    return float("nan") if index % EVERY_DROPPED == 0 else None


@dataclass
class Played:
    """What a run asked, and where its groups ended."""

    asked: list[list[PromptTask]] = field(default_factory=list)
    """The tasks of each incarnation, as they were issued."""
    settled: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def questions(self) -> dict[tuple[str, int], PromptTask]:
        """Group and order to what was asked; fails when it was asked otherwise before."""
        found: dict[tuple[str, int], PromptTask] = {}
        for task in (task for tasks in self.asked for task in tasks):
            timeless = task.model_copy(update={"issued_at": PolicyVersion(incarnation=0, step=0)})
            assert found.setdefault((task.group_id, task.order_index), timeless) == timeless
        return found


class Trainer:
    """Plays the trainer around the real feeder; killed when it has settled enough."""

    def __init__(
        self,
        config: Config,
        samples: list[Sample],
        dropped: Accuracy = without_a_score,
        arrivals: random.Random | None = None,
    ) -> None:
        self._config, self._samples = config, samples
        self._dropped, self._arrivals = dropped, arrivals
        self.played = Played()

    async def run(self, kills: list[tuple[int, int]]) -> Played:
        """Train to the end.

        Args:
            kills: after how many settled groups each of the first incarnations dies, and after how
                many of those it wrote its checkpoint.
        """
        assert self._config.redis.url
        self._client = await connect(self._config.redis.url, 10.0)
        await self._client.flushall()
        self._ledger = Ledger(self._client, KEYS)
        self._groups = WorkStream(self._client, KEYS.groups, "trainer")
        checkpoint = CheckpointState(0, 0, {})
        for incarnation, kill in enumerate([*kills, None], start=1):
            checkpoint = await self._live(incarnation, checkpoint, kill)
        self.played.settled, self.played.skipped = checkpoint.settled, checkpoint.skipped
        await self._client.aclose()
        return self.played

    async def _live(
        self, incarnation: int, before: CheckpointState, kill: tuple[int, int] | None
    ) -> CheckpointState:
        """One incarnation; its last checkpoint."""
        await self._ledger.restore(before.settled, before.verdicts, before.skipped)
        await self._groups.create()
        first = PolicyVersion(incarnation=incarnation, step=0)
        await VersionBoard(self._client, KEYS).announce(first, "http://here")
        feeder, stop = Feeder(self._client, KEYS, self._config, self._samples), asyncio.Event()
        feeding = asyncio.create_task(feeder.run(incarnation, stop))
        checkpoint, done = before, 0
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (kill is None or done < kill[0]) and not await self._ended():
                    await self._settle_next(first)
                    done += 1
                    if kill is None or done == kill[1]:
                        checkpoint = await self._checkpoint(incarnation)
        finally:
            self.played.asked.append(await self._issued())
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        return checkpoint

    async def _checkpoint(self, incarnation: int) -> CheckpointState:
        settled, verdicts = await self._ledger.settled(), await Verdicts(self._client, KEYS).all()
        skipped = (await self._ledger.counts()).skipped
        return CheckpointState(incarnation, 0, settled, verdicts, skipped)

    async def _ended(self) -> bool:
        trainer = self._config.trainer
        return (await self._ledger.counts()).trained >= trainer.steps * trainer.groups_per_step

    async def _issued(self) -> list[PromptTask]:
        entries = await self._client.xrange(KEYS.prompts)
        return [decode(PromptTask, fields[b"m"]) for _, fields in entries]

    async def _settle_next(self, version: PolicyVersion) -> None:
        while not (waiting := await self._in_flight()):
            await asyncio.sleep(0.002)
        # The entry that carries the group; its contents matter to nobody here.
        await self._client.xadd(KEYS.groups, {"m": b"", "g": waiting})
        (entry,) = await self._groups.read(1, block_s=1.0)
        accuracy = self._dropped(int(waiting[1:]))
        if accuracy is not None:
            reason = "uniform_reward"
            scores = {} if math.isnan(accuracy) else {"responses": 2, "accuracy": 2 * accuracy}
            assert await self._ledger.drop(waiting, version, reason, KEYS.groups, entry, scores)
        else:
            assert await self._ledger.train(waiting, version, 1, entry.id)

    async def _in_flight(self) -> str:
        """A group that is issued and not settled, the first one unless the arrivals say otherwise;
        empty when there is none."""
        settled = await self._ledger.settled()
        left = sorted({task.group_id for task in await self._issued()} - settled.keys())
        if not left:
            return ""
        return left[0] if self._arrivals is None else self._arrivals.choice(left)


@pytest.fixture(scope="module")
def run_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    """Fewer questions than groups, so that a run goes through more than one epoch."""
    folder, samples = tmp_path_factory.mktemp("pictures"), []
    for number in range(7):
        names = [str(folder / f"{number}-{place}.png") for place in range(3)]
        for place, name in enumerate(names):
            Image.new("RGB", (28, 28), (30 * number, 80 * place, 0)).save(name)
        samples.append(
            Sample(
                id=f"s{number}",
                question="<image><image><image> Which?",
                images=tuple(names),
                answer="A",
                kind="letter",
                order="letter",
            )
        )
    return folder, samples


def config_for(folder: Path, redis_url: str, steps: int = STEPS) -> Config:
    content = demo_config(
        folder, redis_url, steps=steps, groups_per_step=GROUPS_PER_STEP, max_staleness=1
    )
    # Pictures are distorted too, by a draw that a resumed run has to repeat.
    noise = {"share": 0.5, "strength": 0.1, "schedule": "constant"}
    content["permutation"] = {"n_s": 1, "noise": noise}
    return Config.model_validate(content)


kills = st.lists(
    st.integers(0, 14).flatmap(lambda last: st.tuples(st.just(last), st.integers(0, last))),
    min_size=1,
    max_size=3,
)


@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(kills=kills)
def test_a_killed_run_asks_what_an_undisturbed_one_asks(
    kills: list[tuple[int, int]], run_files: tuple[Path, list[Sample]], redis_url: str
) -> None:
    folder, samples = run_files
    config = config_for(folder, redis_url)
    undisturbed = asyncio.run(Trainer(config, samples).run([]))
    killed = asyncio.run(Trainer(config, samples).run(kills))

    assert len(killed.asked) == len(kills) + 1
    expected, asked = undisturbed.questions(), killed.questions()
    assert {one: asked[one] for one in expected} == expected
    assert {one.partition(":")[0] for one in killed.settled.values()} == {"trained", "dropped"}
    assert killed.settled == undisturbed.settled
    # 12 trained and 3 of the first 15 dropped: no number was left out, in no incarnation.
    assert sorted(killed.settled) == [group_id(index) for index in range(15)]
    for tasks in killed.asked:
        numbers = [task.group_id for task in tasks if task.order_index == 0]
        assert numbers == sorted(numbers)


@settings(max_examples=6, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(kills=kills, arrivals=st.integers(0, 1000))
def test_a_killed_run_skips_what_an_undisturbed_one_skips(
    kills: list[tuple[int, int]],
    arrivals: int,
    run_files: tuple[Path, list[Sample]],
    redis_url: str,
) -> None:
    folder, samples = run_files
    config = config_for(folder, redis_url, steps=12)
    plan = GroupPlan(config, samples)

    def solved(index: int) -> float | None:
        """Four of the seven questions carry no signal, one of them in every other epoch."""
        sample, epoch = plan.sample(index)
        side = {"s0": 1.0, "s1": 1.0, "s2": 0.0}.get(sample.id)
        return 0.0 if sample.id == "s3" and epoch % 2 else side

    undisturbed = asyncio.run(Trainer(config, samples, solved).run([]))
    # The results come in another order too.
    killed = asyncio.run(Trainer(config, samples, solved, random.Random(arrivals)).run(kills))

    expected, asked = undisturbed.questions(), killed.questions()
    ends = min(max(expected), max(asked))
    assert {one: asked[one] for one in sorted(asked) if one <= ends} == {
        one: expected[one] for one in sorted(expected) if one <= ends
    }
    for played in (undisturbed, killed):
        issued = {int(group[1:]) for group, _ in played.questions()}
        left_out = set(range(max(issued))) - issued
        assert len(left_out) == sum(played.skipped.values()) > 10
        assert {solved(index) for index in left_out} <= {0.0, 1.0, None}
        assert {plan.sample(index)[0].id for index in left_out} <= {"s0", "s1", "s2", "s3"}
