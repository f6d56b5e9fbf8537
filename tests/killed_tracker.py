"""A run whose tracker is killed in the middle: the same for every tracker."""

import subprocess
import sys
from pathlib import Path

import psutil

from perl_rl.trackers.cursor import cursor_file, read_cursor
from tests.tracked_run import WrittenRun
from tests.waiting import wait_until

PATIENCE_S = 120.0


def follow_a_killed_run(folder: Path, name: str) -> None:
    """Track steps 1 to 8, with evaluations of 0 and 8 and groups; `kill -9` after step 5."""
    run = WrittenRun(folder, f"trackers=[{{name: {name}, groups_every_steps: 4, groups: 2}}]")
    run.evaluation(0, 0.25)
    run.groups(9)
    run.steps(1, 5)
    command = [sys.executable, "-m", "perl_rl", "track", str(folder)]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: _sent(folder, name) == 5, "step 5", PATIENCE_S)
        (child,) = psutil.Process(process.pid).children()
        child.kill()
        run.steps(6, 8)
        run.evaluation(8, 0.75)
        run.ends()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
    assert _sent(folder, name) == 8


def _sent(folder: Path, name: str) -> int:
    return read_cursor(cursor_file(folder, name)).sent
