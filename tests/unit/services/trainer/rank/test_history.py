"""What a run has written of lost steps is set aside when it goes on from a checkpoint."""

import json
from pathlib import Path

import pytest

from perl_rl.report.summary import MetricsTail, read_metrics, resumed_after
from services.trainer.rank import history
from services.trainer.rank.history import keep_until
from services.trainer.rank.metrics import write_metrics
from shared.records.evaluations import best_step, evaluation_file, evaluation_files
from shared.records.steps import read_lines


def write(folder: Path, incarnation: int, *steps: int) -> None:
    for step in steps:
        row = {"step": step, "incarnation": incarnation, "reward": 0.0, "accuracy": 0.0}
        write_metrics(folder / "metrics.jsonl", row | {"wait_s": 0.0, "train_s": 0.0})


def trained(folder: Path, name: str = "metrics.jsonl") -> list[tuple[int, int]]:
    return [(row["incarnation"], row["step"]) for row in read_lines(folder / name)]


def test_each_step_of_the_surviving_history_has_one_line(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, 2, 3, 4)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "rew')
    keep_until(tmp_path, 2)
    write(tmp_path, 2, 3)
    keep_until(tmp_path, 2)
    write(tmp_path, 3, 3, 4)
    keep_until(tmp_path, 4)

    assert trained(tmp_path) == [(1, 1), (1, 2), (3, 3), (3, 4)]
    assert trained(tmp_path, "metrics.lost.jsonl") == [(1, 3), (1, 4), (2, 3)]
    assert resumed_after(read_metrics(tmp_path / "metrics.jsonl")) == [2]


def test_a_kill_while_lines_are_moved_loses_and_doubles_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1, 1, 2, 3)

    def killed(file: Path, text: str) -> None:
        if file.name == "metrics.jsonl":
            raise KeyboardInterrupt
        written(file, text)

    written = history.write_durably
    monkeypatch.setattr(history, "write_durably", killed)
    with pytest.raises(KeyboardInterrupt):
        keep_until(tmp_path, 1)
    assert trained(tmp_path) == [(1, 1), (1, 2), (1, 3)]

    monkeypatch.undo()
    keep_until(tmp_path, 1)
    assert trained(tmp_path) == [(1, 1)]
    assert trained(tmp_path, "metrics.lost.jsonl") == [(1, 2), (1, 3)]


def test_a_run_that_lost_nothing_is_left_alone(tmp_path: Path) -> None:
    keep_until(tmp_path, 0)
    write(tmp_path, 1, 1, 2)
    before = (tmp_path / "metrics.jsonl").stat()
    keep_until(tmp_path, 2)
    assert (tmp_path / "metrics.jsonl").stat().st_ino == before.st_ino
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_lines_of_an_older_version_that_wrote_steps_twice_are_sorted_out(tmp_path: Path) -> None:
    rows = [{"step": step, "reward": reward} for step, reward in ((1, 0), (2, 0), (2, 1), (3, 1))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keep_until(tmp_path, 3)
    assert read_lines(tmp_path / "metrics.jsonl") == [rows[0], rows[2], rows[3]]
    assert read_lines(tmp_path / "metrics.lost.jsonl") == [rows[1]]


def test_who_watches_sees_each_line_once_while_lines_are_moved(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(tmp_path, 1, 1)
    tail = MetricsTail(file)
    write(tmp_path, 1, 2, 3)
    seen = [(row["incarnation"], row["step"]) for row in tail.new()]
    write(tmp_path, 1, 4)
    keep_until(tmp_path, 2)
    write(tmp_path, 2, 3, 4, 5)
    seen += [(row["incarnation"], row["step"]) for row in tail.new()]
    assert seen == [(1, 2), (1, 3), (2, 3), (2, 4), (2, 5)]
    assert tail.new() == []


def test_evaluations_of_lost_steps_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "evaluations").mkdir()
    for step, accuracy in ((0, 0.1), (4, 0.5), (8, 0.9), (12, 0.5)):
        content = {"accuracy": {"value": accuracy, "low": 0.0, "high": 1.0}}
        evaluation_file(tmp_path, step).write_text(json.dumps(content))
    assert best_step(tmp_path, [4, 8, 12]) == 8
    assert best_step(tmp_path, [4, 12]) == 12, "the later of equal ones"
    assert best_step(tmp_path, [5]) is None

    keep_until(tmp_path, 6)

    assert list(evaluation_files(tmp_path)) == [0, 4]
    lost = sorted(file.name for file in (tmp_path / "evaluations" / "lost").iterdir())
    assert lost == ["step-000008.json", "step-000012.json"]
