"""What a run's pages show of it, read when a page is asked for; what cannot be read is a note."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from perl_rl.report.step_line import TimeLeft
from perl_rl.view.runs import Run
from perl_rl.view.series import (
    HeldOutCurves,
    MetricsFile,
    Row,
    group_averages,
    held_out,
    joined,
)
from perl_rl.view.settings import read_settings
from perl_rl.view.state import State, StateReader, Warned, last_warnings
from shared.errors import UserError

T = TypeVar("T")

_LOOKED_AT = 10
"""How many of the first and of the last steps a headline figure is the mean of."""

_READERS_KEPT = 64


class _Readers:
    """What is remembered of a run between two looks."""

    def __init__(self, folder: Path) -> None:
        self.metrics = MetricsFile(folder)
        self.state = StateReader(folder)


@lru_cache(maxsize=_READERS_KEPT)
def _readers(folder: Path) -> _Readers:
    return _Readers(folder)


@dataclass(frozen=True)
class Figures:
    """A run's curves and settings."""

    rows: list[Row]
    """One for each step, with the averages over its groups."""
    heldout: HeldOutCurves
    settings: dict[str, str]
    notes: list[str]
    """What could not be read, one line each."""

    @property
    def step(self) -> int:
        """The last step; 0 before there is one."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def steps(self) -> int | None:
        """How many the run will have; None when its configuration does not say."""
        steps = self.settings.get("trainer.steps", "")
        return int(steps) if steps.isdecimal() else None

    def left_s(self) -> float | None:
        """Seconds to the last step, by the pace of the last ones; None when that is not known."""
        if self.steps is None:
            return None
        left, pace = None, TimeLeft()
        for row in self.rows[-_LOOKED_AT:]:
            left = pace.after(row, self.steps)
        return left or None


def read_figures(run: Run) -> Figures:
    """The run's curves and settings now."""
    readers, notes = _readers(run.folder.resolve()), list[str]()

    def noted(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except UserError as error:
            notes.append(str(error))
            return otherwise

    rows: list[Row] = noted(readers.metrics.rows, [])
    known = run.groups.read(whole=True)
    if known.unread:
        notes.append(f"{known.unread} older files of groups are still being read for the curves")
    return Figures(
        joined(rows, group_averages(known.table)),
        noted(lambda: held_out(run.folder), HeldOutCurves()),
        noted(lambda: read_settings(run.folder), {}),
        [*notes, *known.problems],
    )


def read_state(run: Run, figures: Figures) -> State:
    """What the run is doing now, or how it ended."""
    try:
        return _readers(run.folder.resolve()).state.read(figures.step, figures.steps)
    except UserError as error:
        return State(False, "unknown", str(error))


def warnings(run: Run, figures: Figures) -> list[Warned]:
    """Alarms of the last steps with any, the newest first, then what the logs warn of."""
    alarms = [
        Warned("step", str(row["step"]), "alarm", ", ".join(row["alarms"]))
        for row in figures.rows
        if row.get("alarms")
    ]
    return [*alarms[: -_LOOKED_AT - 1 : -1], *last_warnings(run.folder)]


@dataclass(frozen=True)
class Headline:
    """A figure of the last steps, and of the first ones."""

    key: str
    label: str
    last: float
    first: float | None
    """None when there are too few steps for the two to differ."""


HEADLINES = (
    ("accuracy_all", "accuracy, all groups"),
    ("worst_accuracy", "accuracy, worst order"),
    ("flip_rate", "flip rate"),
    ("reward_all", "reward, all groups"),
    ("kl", "KL to the start model"),
    ("tokens_per_s", "tokens/s"),
)


def headlines(rows: list[Row]) -> list[Headline]:
    """The means of the headline figures; those that no step has are left out."""
    found = []
    for key, label in HEADLINES:
        values = [row[key] for row in rows if isinstance(row.get(key), int | float)]
        if values:
            last, first = values[-_LOOKED_AT:], values[:_LOOKED_AT]
            began = sum(first) / len(first) if len(values) > _LOOKED_AT else None
            found.append(Headline(key, label, sum(last) / len(last), began))
    return found
