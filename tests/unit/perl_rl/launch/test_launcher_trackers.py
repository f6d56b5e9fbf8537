"""Trackers beside a run: the run ends as soon as they have sent the rest, or gives them up."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from perl_rl.launch.processes import Supervisor
from perl_rl.launch.trackers import RunTrackers
from perl_rl.trackers.cursor import cursor_file, read_cursor
from tests.paths import ROOT
from tests.processes import children_with
from tests.tracked_run import WrittenRun
from tests.written_tracker import seen

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0

# Stands for the Python of an environment with a tracker: its processes get a `WrittenTracker`.
PYTHON = f"""#!/bin/sh
[ "$1" = -c ] && exit 0
shift 2
cd {ROOT} && exec {sys.executable} -m tests.written_tracker "$@"
"""


class Beside:
    """A run with one tracker that `launch` starts and ends."""

    def __init__(self, folder: Path, settings: str) -> None:
        python = folder / "python"
        python.write_text(PYTHON)
        python.chmod(0o755)
        given = f"trackers=[{{name: wandb, python: {python}, groups_every_steps: 0, {settings}}}]"
        self.run = WrittenRun(folder / "run", given)
        self.folder = self.run.folder / "trackers" / "wandb"
        self.notes: list[str] = []
        config = self.run.folder / "config.yaml"
        self.trackers = RunTrackers(self.run.config, config, self.run.folder, self.notes.append)

    def fault(self, what: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "fault").write_text(what)

    async def sent(self, step: int) -> None:
        file = cursor_file(self.run.folder, "wandb")
        async with asyncio.timeout(PATIENCE_S):
            while read_cursor(file).sent != step:
                await asyncio.sleep(0.05)

    async def noted(self, words: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not any(words in note for note in self.notes):
                await asyncio.sleep(0.05)

    async def finish(self, supervisor: Supervisor) -> float:
        """How many seconds it took."""
        began = time.monotonic()
        await self.trackers.finish(supervisor)
        return time.monotonic() - began


async def test_what_is_left_at_the_end_is_sent(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "finish_timeout_s: 30")
    beside.run.steps(1, 2)
    async with Supervisor(beside.run.folder / "logs", 1.0) as supervisor:
        await beside.trackers.start(supervisor)
        await beside.sent(2)
        beside.run.steps(3, 5)
        beside.run.evaluation(5)
        assert await beside.finish(supervisor) < 30
        assert supervisor.running() == []
    assert [one["step"] for one in seen(beside.folder, "step")] == [1, 2, 3, 4, 5]
    assert [one["step"] for one in seen(beside.folder, "evaluation")] == [5]
    folder = beside.run.folder
    assert beside.notes == [
        f"tracker wandb: writes to {folder / 'trackers' / 'wandb'}",
        "the trackers send the rest, for at most 30 s",
    ]


async def test_a_tracker_that_blocks_delays_the_end_only_so_long(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "finish_timeout_s: 2")
    beside.run.steps(1, 2)
    async with Supervisor(beside.run.folder / "logs", 1.0) as supervisor:
        await beside.trackers.start(supervisor)
        await beside.sent(2)
        beside.fault("block")
        beside.run.steps(3, 4)
        assert await beside.finish(supervisor) < 10
    folder = beside.run.folder
    assert beside.notes[-1] == (
        f"tracker wandb: not sent: steps 3 to 4; perl-rl track {folder} --tracker wandb sends it"
    )


async def test_a_tracker_that_is_given_up_delays_nothing(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "max_failures: 1")
    beside.fault("raise")
    beside.run.steps(1, 3)
    async with Supervisor(beside.run.folder / "logs", 1.0) as supervisor:
        await beside.trackers.start(supervisor)
        await beside.noted("tracker-wandb has ended, the run goes on without it: ")
        assert supervisor.exits.empty(), "the session does not hear of it"
        assert await beside.finish(supervisor) < 1
    assert "ConnectionError: the server is away; given up after 1 failures" in beside.notes[1]
    assert "not sent: steps 1 to 3" in beside.notes[-1]


async def test_one_that_is_killed_whole_is_started_again(tmp_path: Path) -> None:
    beside = Beside(tmp_path, "finish_timeout_s: 30")
    beside.run.steps(1, 2)
    async with Supervisor(beside.run.folder / "logs", 1.0) as supervisor:
        await beside.trackers.start(supervisor)
        await beside.sent(2)
        under_reapers = {one.pid for one in children_with("reaper.py")}
        for one in children_with("track"):
            if one.pid not in under_reapers:
                os.kill(one.pid, signal.SIGKILL)
        await beside.noted("tracker-wandb ended with status 137; starting it again")
        beside.run.steps(3, 4)
        await beside.sent(4)
        await beside.finish(supervisor)
    assert [one["step"] for one in seen(beside.folder, "step")] == [1, 2, 3, 4]


async def test_a_run_without_trackers_says_nothing_of_them(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    notes: list[str] = []
    trackers = RunTrackers(run.config, tmp_path / "config.yaml", tmp_path, notes.append)
    async with Supervisor(tmp_path / "logs", 1.0) as supervisor:
        await trackers.start(supervisor)
        await trackers.finish(supervisor)
        assert (notes, supervisor.running()) == ([], [])
