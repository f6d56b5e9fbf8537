"""A short fault suite: one of each kind that matters most; ``make faults`` is the long one."""

from pathlib import Path

import pytest

from tests.faults.account import Account, Status
from tests.faults.injection import PATIENCE_S, run_suite

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

FAULTS = [
    "kill -9 of a rollout node",
    "kill -9 of a reward node",
    "kill -9 and restart of Redis",
    "corrupted delta on the wire",
    "node several versions behind",
    "malformed message",
    "truncated message",
    "message of unknown version",
    "kill -9 of a trainer rank",
]


async def test_nothing_is_lost_and_nothing_trained_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account = Account(FAULTS, len(FAULTS), PATIENCE_S, to_the_end=False)
    await run_suite(tmp_path, 1, account, seconds=600.0)
    account.print_once()
    said = capsys.readouterr().out
    assert account.status() is Status.PASSED, said
    assert said.rstrip().endswith("9 faults, 0 groups lost, 0 trained twice")
    assert account.audit is not None and account.audit.trained > 0
    # What the trainer settled after its last checkpoint is issued again when it starts again.
    assert account.rows["malformed message"].dropped["dead_letter"] == 1, said
