"""The fault suite's own end: its table is printed and its exit status is right, however it ends."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.wire.counts import Counts
from tests.faults.account import Account, Audit, Row, Status
from tests.faults.catalog import FAULTS
from tests.faults.injection import schedule

SUITE = """
import asyncio, sys, time
from pathlib import Path
from tests.faults.account import Account
from tests.faults.bound import ENDING_S, Bound

async def suite():
    account.rows["a"].times = 2
    print("going", flush=True)
    {does}

account = Account(["a", "a", "b"], 3, 180.0)
with Bound({seconds}, account, Path(sys.argv[1]).touch) as bound:
    sys.exit(bound.run(suite()))
"""


def started(does: str, seconds: float, mark: Path) -> "subprocess.Popen[str]":
    """A suite that has injected two faults of three and now `does` something."""
    words = [sys.executable, "-c", SUITE.format(does=does, seconds=seconds), str(mark)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "going\n"
    return process


def test_a_suite_whose_end_stands_still_prints_its_table_and_fails(tmp_path: Path) -> None:
    process = started("time.sleep(600)", 1.0, tmp_path / "cleared")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == Status.UNFINISHED
    assert "the whole run  2" in said
    assert "unfinished: the end of the suite hung; 2 faults injected of at least 3" in said
    assert "never injected: b" in said
    assert (tmp_path / "cleared").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_suite_that_is_interrupted_prints_its_table(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = started("await asyncio.sleep(600)", 600.0, tmp_path / "cleared")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "the whole run  2" in said and f"unfinished: received {number.name}" in said
    assert not (tmp_path / "cleared").exists()


def test_told_twice_a_suite_ends_at_once(tmp_path: Path) -> None:
    stubborn = """
    try:
        await asyncio.sleep(600)
    finally:
        print("ending", flush=True)
        await asyncio.sleep(600)
    """
    process = started(stubborn.strip(), 600.0, tmp_path / "cleared")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "ending\n"
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "the whole run  2" in said
    assert (tmp_path / "cleared").exists()


def audit(**changes: int) -> Audit:
    """An account in order, but for the changes."""
    fields = {"issued": 9, "trained": 8, "in_flight": 0, "lost": 0, "trained_twice": 0}
    fields |= {"disagree": 0, "unrecorded": 0} | changes
    return Audit(**fields, dropped={"dead_letter": 1}, balanced=True)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({}, Status.PASSED),
        ({"lost": 1}, Status.WRONG),
        ({"trained_twice": 1}, Status.WRONG),
        ({"disagree": 1}, Status.WRONG),
        ({"unrecorded": 1}, Status.WRONG),
        ({"in_flight": 1}, Status.WRONG),
    ],
)
def test_the_account_decides(
    found: dict[str, int], status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    account = Account(["a"], 100, 180.0)
    account.rows["a"].times = 1
    account.rows["a"].add(Counts(issued=3), Counts(issued=9, trained=4), 2.5)
    account.audit = audit(**found)
    account.print_once()
    account.print_once()
    said = capsys.readouterr().out
    assert account.status() is status
    assert said.count("the whole run") == 1
    assert ("1 faults, 0 groups lost, 0 trained twice" in said) is (status is Status.PASSED)
    assert "2.5 s" in said and "dead_letter 1" in said


def test_a_stall_and_a_fault_that_is_not_stood_are_wrong() -> None:
    stalled, broken = (Account(["a"], 1, 180.0) for _ in range(2))
    stalled.longest_stall_s = 181.0
    broken.failure = "a: no step trained within 180 s"
    broken.rows["a"].times = 1
    assert stalled.wrong() == ["a stall of 181 s"]
    assert broken.status() is Status.WRONG
    assert "(1 not seen to recover)" in broken.table() and "?" in broken.table()


def test_a_row_counts_no_step_back() -> None:
    row = Row()
    row.add(Counts(issued=9, trained=8), Counts(issued=5, trained=9, dropped={"stale": 2}), 1.0)
    assert (row.issued, row.trained, dict(row.dropped)) == (0, 1, {"stale": 2})


def test_the_schedule_is_seeded_and_begins_with_every_kind() -> None:
    counts = {name: times for name, (_, times) in FAULTS.items()}
    names = schedule(counts, random.Random(3))
    assert names == schedule(counts, random.Random(3)) != schedule(counts, random.Random(4))
    assert {name: names.count(name) for name in counts} == counts
    assert set(names[: len(counts)]) == set(counts)
    assert len(names) >= 100
