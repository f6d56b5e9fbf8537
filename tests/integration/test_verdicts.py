"""Verdicts on groups, on a real ledger."""

from collections.abc import AsyncIterator

import pytest

from shared.wire.verdicts import KEPT, LATE, Verdict
from tests.integration.ledger_run import V2, Run, running


@pytest.fixture
async def run(redis_url: str) -> AsyncIterator[Run]:
    async with running(redis_url) as run:
        yield run


async def test_the_first_verdict_on_a_group_stands(run: Run) -> None:
    for name in ("kept", "stale", "slow"):
        await run.issue(name)
    assert await run.verdicts.all() == {}
    assert await run.verdicts.stop_waiting("slow") == Verdict(LATE)
    await run.sample_all()
    assert await run.score_all() == [True] * 3
    assert await run.verdicts.of("stale") == Verdict(KEPT, 0.5)
    entries = await run.stream(run.keys.groups, "trainer").read(3, block_s=0.01)
    by_group = {entry.group: entry for entry in entries}
    assert await run.train(by_group["kept"])
    groups = run.keys.groups
    assert await run.ledger.drop("stale", V2, "stale", groups, by_group["stale"])
    known = {"kept": "kept:0.5000", "stale": "kept:0.5000", "slow": "late:"}
    assert await run.verdicts.all() == known
    assert await run.verdicts.stop_waiting("kept") == Verdict(KEPT, 0.5)


async def test_restore_brings_the_verdicts_back(run: Run) -> None:
    await run.issue("lost")
    await run.verdicts.stop_waiting("lost")
    settled = {"a": "trained:5", "b": "dropped:too:few", "c": "dropped:uniform_reward"}
    verdicts = {"c": "uniform_reward:1.0000", "flying": "kept:0.2500"}
    await run.ledger.restore(settled, verdicts, {"easy": 3})
    # A checkpoint of an earlier release has no verdicts: the states tell what they can.
    assert await run.verdicts.all() == {"a": "kept:", "b": "too:few:"} | verdicts
    assert await run.verdicts.of("b") == Verdict("too:few")
    assert (await run.ledger.counts()).skipped == {"easy": 3}
    await run.ledger.restore({})
    assert await run.verdicts.all() == (await run.ledger.counts()).skipped == {}
