"""The real wandb, offline: one file holds each step once, also after a kill."""

from pathlib import Path

import pytest

pytest.importorskip("wandb", reason="no wandb here: pip install -r requirements/wandb.txt")

from tests.killed_tracker import follow_a_killed_run
from tests.wandb_file import history

pytestmark = pytest.mark.slow


def test_each_step_is_in_the_file_once_with_evaluations_and_pictures(tmp_path: Path) -> None:
    follow_a_killed_run(tmp_path, "wandb")
    runs = list((tmp_path / "trackers" / "wandb" / "wandb").glob("offline-run-*"))
    assert len(runs) == 1, "the run of the killed process is replaced"
    (file,) = runs[0].glob("run-*.wandb")
    rows = history(file)
    steps = [row for row in rows if "train/reward" in row]
    assert [row["step"] for row in steps] == list(range(1, 9))
    assert [row["train/reward"] for row in steps] == [1 + step / 100 for step in range(1, 9)]
    heldout = [row for row in rows if "heldout/accuracy" in row]
    assert [(row["heldout/step"], row["heldout/accuracy"]) for row in heldout] == [
        (0, 0.25),
        (8, 0.75),
    ]
    tables = [row for row in rows if "groups/step" in row and "groups/table/nrows" in row]
    assert [(row["groups/step"], row["groups/table/nrows"]) for row in tables] == [(4, 2), (8, 2)]
    staged = [file for file in (tmp_path / "trackers/wandb/data").rglob("*") if file.is_file()]
    pictures = {file.read_bytes() for file in staged if file.read_bytes().startswith(b"\x89PNG")}
    assert len(pictures) >= 2 * 3
