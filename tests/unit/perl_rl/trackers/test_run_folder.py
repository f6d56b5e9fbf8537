"""What a tracker reads of a run folder."""

import os

import pytest

from perl_rl.trackers.base import TABLE_COLUMNS
from perl_rl.trackers.run_folder import (
    MetricsTail,
    evaluation_figures,
    figures_of,
    groups_to_show,
    is_over,
    recorded_until,
)
from shared.errors import UserError
from shared.records.steps import METRICS
from tests.tracked_run import WrittenRun


def steps(rows: list[dict[str, int]] | None) -> list[int]:
    assert rows is not None
    return [row["step"] for row in rows]


def test_each_line_comes_once_and_only_whole(tmp_path) -> None:
    run = WrittenRun(tmp_path)
    tail = MetricsTail(tmp_path / METRICS)
    assert steps(tail.new()) == []
    run.steps(1, 2)
    assert steps(tail.new()) == [1, 2]
    with (tmp_path / METRICS).open("a") as stream:
        stream.write('{"step": 3, "inc')
    assert steps(tail.new()) == []
    # As the trainer does: the line that a kill cut short is removed first.
    run.steps(3, 3)
    assert steps(tail.new()) == [3]
    assert steps(tail.new()) == []


def test_a_file_that_was_replaced_is_noticed_also_when_it_is_as_long_again(tmp_path) -> None:
    run = WrittenRun(tmp_path)
    run.steps(1, 6)
    tail = MetricsTail(tmp_path / METRICS)
    assert steps(tail.new()) == [1, 2, 3, 4, 5, 6]
    run.goes_back_to(4)
    run.steps(5, 9, incarnation=2)
    assert tail.new() is None
    assert steps(tail.new()) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_numbers_are_shown_and_nothing_else(tmp_path) -> None:
    figures = figures_of(WrittenRun(tmp_path).row(4))
    assert figures == {
        "train/incarnation": 1.0,
        "train/reward": 1.04,
        "train/accuracy": 0.04,
        "train/alarms": 1.0,
        "train/groups_dropped/uniform_reward": 4.0,
        "train/wait_s": 0.5,
        "train/train_s": 1.0,
    }


def test_groups_that_flip_come_first_with_their_pictures(tmp_path) -> None:
    run = WrittenRun(tmp_path)
    rows = [row for row in run.groups(2) if row["step"] == 2]
    flipped = sum(bool(row["flipped"]) for row in rows)
    assert 0 < flipped < len(rows)
    shown = groups_to_show(tmp_path, 2, len(rows), "http://here/runs/0/")
    cells = [dict(zip(TABLE_COLUMNS, group.cells, strict=True)) for group in shown]
    assert [one["flipped"] for one in cells] == ["yes"] * flipped + ["no"] * (len(rows) - flipped)
    by_id = {row["group_id"]: row for row in rows}
    for group, cell in zip(shown, cells, strict=True):
        row = by_id[group.id]
        assert (cell["gold"], cell["reward"]) == (row["answer"], round(row["reward"], 6))
        assert cell["best response"] in row["response_text"]
        assert [picture.size for picture in group.pictures] == [(96, 64)] * 3
        assert group.page == f"http://here/runs/0/groups/{group.id}"
    assert len(groups_to_show(tmp_path, 2, 2, None)) == 2
    assert groups_to_show(tmp_path, 9, 2, None) == []


def test_a_step_is_recorded_when_a_later_one_is_there(tmp_path) -> None:
    run = WrittenRun(tmp_path)
    assert recorded_until(tmp_path) == 0
    run.groups(3)
    assert recorded_until(tmp_path) == 3


def test_a_run_is_over_when_its_summary_is_of_its_last_step(tmp_path) -> None:
    run = WrittenRun(tmp_path)
    assert not is_over(tmp_path)
    run.steps(1, 1)
    run.ends()
    assert is_over(tmp_path)
    # In a copy of the run any file may be the newest.
    os.utime(tmp_path / METRICS, (2e9, 2e9))
    assert is_over(tmp_path)
    # It was resumed, and has trained a step more.
    os.utime(tmp_path / "summary.json", (900, 900))
    assert not is_over(tmp_path)


@pytest.mark.parametrize(
    "line", [b"\0\0", b"\xff\xfe\0", b"[]", b"{}", b'{"step": null}', b"[" * 100_000]
)
def test_a_line_that_is_no_step_is_named(tmp_path, line: bytes) -> None:
    (tmp_path / METRICS).write_bytes(b'{"step": 1}\n' + line + b"\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl: a line is no record of a step"):
        MetricsTail(tmp_path / METRICS).new()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"accuracy": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_evaluation_is_named(tmp_path, content: bytes) -> None:
    file = tmp_path / "step-000001.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"step-000001\.json: is no evaluation of a run"):
        evaluation_figures(file)
