"""The real TensorBoard: its own reader finds each step once, with pictures."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from perl_rl.trackers.cursor import cursor_file, read_cursor
from perl_rl.trackers.tensorboard import Adapter
from shared.records.steps import METRICS, read_lines
from tests.tracked_run import WrittenRun, tracked
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


def read(run_dir: Path) -> EventAccumulator:
    """All that TensorBoard finds."""
    everything = {"scalars": 0, "images": 0, "tensors": 0}
    found = EventAccumulator(str(run_dir / "trackers" / "tensorboard"), everything)
    return found.Reload()


def follow(run_dir: Path) -> "subprocess.Popen[bytes]":
    """``perl-rl track``, for as long as the run goes on."""
    command = [sys.executable, "-m", "perl_rl", "track", str(run_dir), "--tracker", "tensorboard"]
    return subprocess.Popen(command)


def has_sent(run_dir: Path, step: int) -> bool:
    return read_cursor(cursor_file(run_dir, "tensorboard")).sent == step


def test_every_step_is_there_once_after_a_kill_and_after_a_loss(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path)
    run.evaluation(0, 0.25)
    run.groups(12)
    run.steps(1, 6)
    process = follow(tmp_path)
    try:
        wait_until(lambda: has_sent(tmp_path, 6), "step 6", PATIENCE_S)
        (child,) = psutil.Process(process.pid).children()
        child.kill()
        run.steps(7, 8)
        wait_until(lambda: has_sent(tmp_path, 8), "step 8", PATIENCE_S)
        run.goes_back_to(5)
        run.steps(6, 11, incarnation=2)
        run.evaluation(11, 0.75)
        run.ends()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
    found = read(tmp_path)
    rows = read_lines(tmp_path / METRICS)
    rewards = found.Scalars("train/reward")
    assert [one.step for one in rewards] == [row["step"] for row in rows] == list(range(1, 12))
    assert [one.value for one in rewards] == pytest.approx([row["reward"] for row in rows])
    assert [one.wall_time for one in rewards] == [row["time"] for row in rows]
    heldout = found.Scalars("heldout/accuracy")
    assert [(one.step, one.value) for one in heldout] == [(0, 0.25), (11, 0.75)]


def test_groups_are_shown_with_pictures_and_the_configuration(tmp_path: Path) -> None:
    run = WrittenRun(tmp_path, "trackers=[{name: tensorboard, groups: 3, page: 'http://here/r'}]")
    run.groups(12)
    run.steps(1, 11)
    run.ends()
    assert follow(tmp_path).wait(PATIENCE_S) == 0
    found = read(tmp_path)
    assert found.Tags()["images"] == ["groups/0", "groups/1", "groups/2"]
    for place in range(3):
        images = found.Images(f"groups/{place}")
        assert [(one.step, one.width, one.height) for one in images] == [
            (step, 3 * (96 + 4), 64) for step in (10, 11)
        ]
    (table, _) = found.Tensors("groups/table/text_summary")
    text = table.tensor_proto.string_val[0].decode()
    assert len(text.splitlines()) == 2 + 3
    assert "http://here/r/groups/g000000" in text
    # A response may hold markup.
    assert "<script>" not in text
    (config,) = found.Tensors("run/config/text_summary")
    assert "run: digits" in config.tensor_proto.string_val[0].decode()


def test_steps_that_were_written_but_not_noted_are_there_once(tmp_path: Path) -> None:
    for sent, steps in ((0, range(1, 7)), (4, range(5, 9))):
        adapter = Adapter()
        assert adapter.start(tracked(tmp_path, "tensorboard", sent=sent)) == sent
        for step in steps:
            adapter.log_step(step, float(step), {"train/reward": step + sent / 10})
        # Not finished: its process is killed here.
        adapter.flush()
    rewards = read(tmp_path).Scalars("train/reward")
    assert [one.step for one in rewards] == list(range(1, 9))
    assert rewards[4].value == pytest.approx(5.4)
