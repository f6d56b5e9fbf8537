"""The real SwanLab, offline: the reader of ``swanlab sync`` finds each step once."""

from pathlib import Path

import pytest

pytest.importorskip("swanlab", reason="no swanlab here: docs/trackers.md says how to install it")

from swanlab.proto.swanlab.record.v1.record_pb2 import Record
from swanlab.sdk.internal.core_python.store import DataStoreReader

from tests.killed_tracker import follow_a_killed_run

pytestmark = pytest.mark.slow


def records(file: Path) -> list[Record]:
    reader = DataStoreReader()
    reader.open(file)
    found = []
    for data in reader:
        found.append(Record())
        found[-1].ParseFromString(data)
    return found


def test_each_step_is_in_the_file_once_with_evaluations_and_pictures(tmp_path: Path) -> None:
    follow_a_killed_run(tmp_path, "swanlab")
    # The run of the killed process is replaced.
    (file,) = (tmp_path / "trackers" / "swanlab").rglob("run-*.swanlab")
    scalars = [one.scalar for one in records(file) if one.HasField("scalar")]
    rewards = [(one.step, one.value.number) for one in scalars if one.key == "train/reward"]
    assert rewards == [(step, 1 + step / 100) for step in range(1, 9)]
    heldout = [(one.step, one.value.number) for one in scalars if one.key == "heldout/accuracy"]
    assert heldout == [(0, 0.25), (8, 0.75)]
    shown = [one.media for one in records(file) if one.HasField("media")]
    assert [(one.key, one.step) for one in shown] == [
        (f"groups/{what}", step) for step in (4, 8) for what in ("table", "pictures")
    ]
    assert len(list(file.parent.rglob("*.png"))) >= 2 * 3
