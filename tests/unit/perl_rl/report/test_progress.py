"""How a run is shown: lines in a log, a panel in a terminal."""

import io

import pytest
from rich.console import Console

from perl_rl.report import progress
from perl_rl.report.progress import Lines, Panel


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
