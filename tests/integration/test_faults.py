"""A short fault suite: one of each kind that matters most; ``make faults`` is the long one."""

from pathlib import Path

import pytest

from tests.faults.suite import run_suite

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

FAULTS = (
    "kill -9 of a rollout node",
    "kill -9 of a reward node",
    "kill -9 of a trainer rank",
    "kill -9 and restart of Redis",
    "node cut off from Redis",
    "corrupted weights on the wire",
    "corrupted checkpoint",
    "malformed message",
)


async def test_nothing_is_lost_and_nothing_trained_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = await run_suite(tmp_path, seed=1, counts=dict.fromkeys(FAULTS, 1), until_s=600.0)
    said = capsys.readouterr().out
    assert wrong == 0, said
    assert said.rstrip().endswith("0 groups lost, 0 trained twice")
    assert f"[{len(FAULTS)}/{len(FAULTS)}]" in said, "every fault was injected"
