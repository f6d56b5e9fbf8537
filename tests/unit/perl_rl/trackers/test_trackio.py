"""The real Trackio with a database in the run folder: its own reader finds each step once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trackio", reason="no trackio here: docs/trackers.md says how to install it")

from tests.killed_tracker import follow_a_killed_run

pytestmark = pytest.mark.slow

# Trackio reads its folder from the environment when it is imported.
READ = """
import json
from trackio import Api, SQLiteStorage
runs = [run.name for run in Api().runs("perl-rl")]
print(json.dumps([runs, SQLiteStorage.get_logs("perl-rl", runs[0])]))
"""


def read(run_dir: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of the runs, and the rows of the first."""
    folder = str(run_dir / "trackers" / "trackio")
    done = subprocess.run(
        [sys.executable, "-c", READ],
        env=os.environ | {"TRACKIO_DIR": folder},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    runs, rows = json.loads(done.stdout.splitlines()[-1])
    return runs, rows


def test_each_step_is_in_the_database_once_with_evaluations_and_pictures(tmp_path: Path) -> None:
    follow_a_killed_run(tmp_path, "trackio")
    runs, rows = read(tmp_path)
    assert runs == ["digits"]
    steps = [row for row in rows if "train/reward" in row]
    assert [(row["step"], row["train/reward"]) for row in steps] == [
        (step, 1 + step / 100) for step in range(1, 9)
    ]
    heldout = [row for row in rows if "heldout/accuracy" in row]
    assert [(row["step"], row["heldout/accuracy"]) for row in heldout] == [(0, 0.25), (8, 0.75)]
    tables = [row for row in rows if "groups" in row]
    assert [row["step"] for row in tables] == [4, 8]
    pictures = [
        tmp_path / "trackers" / "trackio" / "media" / cell["file_path"]
        for row in tables[-1]["groups"]["_value"]
        for name, cell in row.items()
        if name.startswith("picture ")
    ]
    assert len(pictures) == 2 * 3
    assert all(file.is_file() for file in pictures)
