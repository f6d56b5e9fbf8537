"""How far an evaluation is, and how long it will take."""

import pytest

from perl_rl.report import pace as module
from perl_rl.report.pace import Pace
from perl_rl.report.progress import duration, part_line


class Shown:
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, int, int, float | None]] = []

    def note(self, text: str) -> None: ...

    def step(self, row: object, steps: int) -> None: ...

    def state(self, doing: str, view: object) -> None: ...

    def part(self, what: str, done: int, total: int, left_s: float | None) -> None:
        self.parts.append((what, done, total, left_s))

    def close(self) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_the_time_to_come_is_said_once_when_the_rate_is_known(clock: list[float]) -> None:
    shown, notes = Shown(), list[str]()
    pace = Pace("evaluation before training", shown, notes.append)
    for now, done in ((100, 0), (104, 9), (106, 15), (110, 25), (130, 90), (134, 100)):
        clock[0] = float(now)
        pace(done, 100)
    assert [left for *_, left in shown.parts] == [
        None,
        None,
        *(pytest.approx(left) for left in (6 / 15 * 85, 10 / 25 * 75, 30 / 90 * 10, 0)),
    ]
    assert notes == ["evaluation before training: 100 answers, about 34 s to go"]
    assert pace.summary() == "evaluation before training: 100 answers in 34.0 s"
    pace.end()
    assert shown.parts[-1][1:3] == (100, 100)


def test_slow_answers_give_a_rate_after_a_minute(clock: list[float]) -> None:
    shown = Shown()
    pace = Pace("evaluation after training", shown, lambda text: None)
    for now, done in ((0, 0), (59, 2), (61, 3)):
        clock[0] = float(now)
        pace(done, 10_000)
    assert [left is None for *_, left in shown.parts] == [True, True, False]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.4, "about 4 s"), (89, "about 89 s"), (95, "about 2 min"), (7200, "about 2.0 h")],
)
def test_times_are_rough(seconds: float, words: str) -> None:
    assert duration(seconds) == words
    assert part_line("it", 3, 9, seconds) == f"it: 3 of 9, {words} left"
    assert part_line("it", 3, 9, None) == "it: 3 of 9"
