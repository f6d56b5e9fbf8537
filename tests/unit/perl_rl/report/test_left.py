"""What ``perl-rl status`` says of a run whose Redis has ended: its folder is all that is left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perl_rl.cli.main import main
from perl_rl.folder_lock import hold_folder
from shared.config import Config, save_config
from shared.records.evaluations import FIGURES, evaluation_file
from shared.service.ports import free_port

Said = Callable[[], str]

DONE = {"accuracy": 0.9, "worst_case": 0.8, "flip_rate": 0.2}
BEFORE = {"accuracy": 0.6, "worst_case": 0.4, "flip_rate": 0.6}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that was started with a Redis that has ended."""
    settings: dict[str, Any] = {
        "run": "digits",
        "redis": {"url": f"redis://127.0.0.1:{free_port('127.0.0.1')}/0"},
        "model": {"path": "model"},
        "data": {"train": "train.jsonl"},
        "trainer": {"steps": 16},
    }
    save_config(Config.model_validate(settings), tmp_path / "config.yaml")
    return tmp_path


@pytest.fixture
def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    def run() -> str:
        assert main(["status", "--run-dir", str(folder)]) == 0
        return capsys.readouterr().out

    return run


def trained(folder: Path, steps: int, saved: int) -> None:
    rows = [
        {"step": step, "reward": 0.5, "accuracy_all": 0.75, "kl": 0.01}
        for step in range(1, steps + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "checkpoints" / f"step-{saved:06d}").mkdir(parents=True)


def summary(folder: Path, outcome: str, **evaluated: dict[str, float] | None) -> None:
    content = {"outcome": outcome, "steps": 10, "wall_s": 61.4, "eval": evaluated}
    (folder / "summary.json").write_text(json.dumps(content))


def test_an_interrupted_run_says_at_which_step_and_how_to_resume(folder: Path, said: Said) -> None:
    trained(folder, steps=10, saved=8)
    summary(folder, "interrupted", before=BEFORE, after=None)
    lines = said().splitlines()
    assert "now      interrupted at step 10 of 16" in lines
    assert "saved    checkpoint of step 8" in lines
    assert "last     step 10  reward 0.500  accuracy_all 0.750  kl 0.010" in lines
    assert lines[-1] == (
        f"resume   perl-rl launch CONFIG --resume --run-dir {folder}  (continues at step 9)"
    )


def test_an_interrupted_run_shows_its_last_evaluation_and_its_best_checkpoint(
    folder: Path, said: Said
) -> None:
    trained(folder, steps=10, saved=8)
    trained(folder, steps=10, saved=4)
    summary(folder, "interrupted", before=None, after=None)
    (folder / "evaluations").mkdir()
    for step, accuracy in ((4, 0.625), (8, 0.5)):
        figures = {name: {"value": 0.25} for name in FIGURES} | {"accuracy": {"value": accuracy}}
        content = figures | {"versions": [f"1.{step}", f"1.{step + 1}"]}
        evaluation_file(folder, step).write_text(json.dumps(content))
    lines = said().splitlines()
    assert "best     checkpoint of step 4, by held-out accuracy" in lines
    assert (
        "eval     step 8: accuracy 0.500, right under every order 0.250, flip rate 0.250 "
        "(versions 1.8 to 1.9)"
    ) in lines


def test_a_run_that_is_done_shows_its_evaluation(folder: Path, said: Said) -> None:
    trained(folder, steps=16, saved=16)
    summary(folder, "done", before=BEFORE, after=DONE)
    text = said()
    assert "now      done, 10 steps in 61 s" in text
    assert "eval     flip rate: before 0.600, after 0.200" in text
    assert "resume" not in text


def test_a_run_that_failed_says_why(folder: Path, said: Said) -> None:
    trained(folder, steps=3, saved=2)
    summary(folder, "failed: the last rollout node has left", before=None, after=None)
    assert "now      failed: the last rollout node has left (at step 3 of 16)" in said()


def test_a_run_that_was_killed_left_no_summary(folder: Path, said: Said) -> None:
    text = said()
    assert "not running; it ended without a summary, at step 0 of 16" in text
    assert text.endswith("(continues at step 1)\n")


def test_a_launch_that_holds_the_folder_is_running(folder: Path, said: Said) -> None:
    with hold_folder(folder):
        assert "perl-rl launch is running, but its Redis does not answer" in said()
    assert "is running" not in said()


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["status", "--run-dir", str(empty)]) == 2
    assert (
        f"--run-dir {empty}: holds no run (no config.yaml); check the folder"
        in capsys.readouterr().err
    )


def test_a_summary_of_before_the_run_went_on_is_not_its_end(folder: Path, said: Said) -> None:
    summary(folder, "done")
    row = {"step": 11, "time": (folder / "summary.json").stat().st_mtime + 1}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert "it ended without a summary, at step 11 of 16" in said()
