"""What the progress line says of a step."""

import io

import pytest
from rich.console import Console

from perl_rl.report import progress
from perl_rl.report.progress import Lines, Panel, step_line


def test_a_step_is_one_line_that_says_which_groups_its_figures_count() -> None:
    row = {"step": 2, "accuracy_all": 0.81, "accuracy": 0.536, "tokens_per_s": 1709.4}
    times = {"wait_s": 0.1, "train_s": 1.2, "sync_s": 0.0}
    assert step_line(row | times, 60) == (
        "step 2/60  accuracy 0.810  of kept groups 0.536  tokens/s 1,709 (kept groups)  "
        "wait 0.1 s, train 1.2 s, sync 0.0 s"
    )


def test_a_step_says_which_stage_bounds_the_run_once_it_was_measured() -> None:
    shares = {"rollout_idle_share": 0.03, "reward_idle_share": 0.9, "trainer_idle_share": 0.412}
    line = step_line({"step": 2, "bound_by": "rollout", **shares}, 60)
    assert line.endswith("bound by rollout (idle: rollout 3%, reward 90%, trainer 41%)")
    first = dict.fromkeys(shares)
    assert "bound" not in step_line({"step": 1, "bound_by": None, **first}, 60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_a_part_is_a_line_every_ten_seconds(clock: list[float]) -> None:
    out = io.StringIO()
    lines = Lines(out)
    for now, done in ((1.0, 0), (11.0, 20), (12.0, 30), (22.0, 60), (33.0, 100)):
        clock[0] = now
        lines.state("trainer: paused", None)
        lines.part("evaluation", done, 100, None if done == 0 else 5.0)
    clock[0] = 50.0
    lines.state("trainer: training", None)
    assert out.getvalue().splitlines() == [
        "[00:11] evaluation: 0 of 100",
        "[00:22] evaluation: 30 of 100, about 5 s left",
        "[00:33] evaluation: 60 of 100, about 5 s left",
        "[00:50] trainer: training",
    ]


def test_a_terminal_shows_a_bar_for_a_part_until_it_is_done() -> None:
    out = io.StringIO()
    panel = Panel(out)
    panel.state("trainer: paused", None)
    panel.part("evaluation", 30, 100, 5.0)
    assert "evaluation: 30 of 100, about 5 s left" in drawn(panel)
    panel.part("evaluation", 100, 100, None)
    assert "evaluation" not in drawn(panel) and "trainer: paused" in drawn(panel)
    panel.close()


def drawn(panel: Panel) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(panel._live.renderable)
    return console.file.getvalue()
