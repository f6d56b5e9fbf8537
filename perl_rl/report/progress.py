"""Live progress of a run: a panel in a terminal, else a line for each step and every ten seconds.

Shows what the run waits for, so that a stuck run looks different from a slow one.
"""

import sys
import time
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from perl_rl.report.observe import RunView
from perl_rl.report.step_line import TimeLeft, step_line
from perl_rl.report.summary import Metrics

QUIET_S = 10.0
"""Without a terminal: the longest time without a line."""


class Progress(Protocol):
    """Where a run is shown."""

    def note(self, text: str) -> None:
        """Show something that happened once."""

    def step(self, row: Metrics, steps: int) -> None:
        """Show a trained step of `steps`; `row` is its line of metrics."""

    def state(self, doing: str, view: RunView | None) -> None:
        """Show what is being done now; called about twice a second."""

    def part(self, what: str, done: int, total: int, left_s: float | None) -> None:
        """Show how far `what` is, which runs beside the steps or between them; done: gone.

        Args:
            left_s: seconds that it will take; None before that is known.
        """

    def close(self) -> None:
        """End the display; no more calls follow."""


def open_progress(out: TextIO | None = None) -> Progress:
    """A panel when `out` (default: standard output) is a terminal, else lines."""
    out = out or sys.stdout
    return Panel(out) if out.isatty() else Lines(out)


def part_line(what: str, done: int, total: int, left_s: float | None) -> str:
    """How far a part is, in one line."""
    left = "" if left_s is None else f", {duration(left_s)} left"
    return f"{what}: {done} of {total}{left}"


def duration(seconds: float) -> str:
    """A time to come, in words; rough, as it is an estimate."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


class Lines:
    """Progress for logs and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._started = self._last = time.monotonic()
        self._part: str | None = None
        self._left = TimeLeft()

    def note(self, text: str) -> None:
        """Print it."""
        self._print(text)

    def step(self, row: Metrics, steps: int) -> None:
        """Print one line."""
        self._print(step_line(row, steps, self._left.after(row, steps)))

    def state(self, doing: str, view: RunView | None) -> None:
        """Print a line when there was none for `QUIET_S`; a part goes first."""
        if time.monotonic() - self._last >= QUIET_S:
            self._print(self._part or doing)

    def part(self, what: str, done: int, total: int, left_s: float | None) -> None:
        """Print a line when there was none for `QUIET_S`."""
        line = part_line(what, done, total, left_s)
        self._part = line if done < total else None
        self.state(line, None)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        print(f"[{_clock(self._last - self._started)}] {text}", file=self._out, flush=True)


class Panel:
    """Progress for a terminal, drawn in place; notes and steps scroll by above it."""

    def __init__(self, out: TextIO) -> None:
        self._started = time.monotonic()
        self._row: Metrics = {}
        self._steps = 0
        self._doing = ""
        self._view: RunView | None = None
        self._part: tuple[str, int, int] | None = None
        self._left = TimeLeft()
        self._live = Live(console=Console(file=out), refresh_per_second=4, transient=True)
        self._live.start()

    def note(self, text: str) -> None:
        """Print it above the panel."""
        self._live.console.print(Text(f"[{_clock(time.monotonic() - self._started)}] {text}"))

    def step(self, row: Metrics, steps: int) -> None:
        """Show it in the panel, and as a line above it."""
        self._row, self._steps = row, steps
        self.note(step_line(row, steps, self._left.after(row, steps)))

    def state(self, doing: str, view: RunView | None) -> None:
        """Draw the panel again."""
        self._doing, self._view = doing, view
        self._draw()

    def part(self, what: str, done: int, total: int, left_s: float | None) -> None:
        """Draw the panel again, with a bar for it."""
        line = part_line(what, done, total, left_s)
        self._part = (line, done, total) if done < total else None
        self._draw()

    def _draw(self) -> None:
        elapsed = _clock(time.monotonic() - self._started)
        parts: list[RenderableType] = [Text(f"{elapsed}  {self._doing}")]
        if self._steps:
            parts.append(_bar(self._row["step"], self._steps, f"{self._row['step']}/{self._steps}"))
        if self._part is not None:
            line, done, total = self._part
            parts.append(_bar(done, total, line))
        if self._view is not None and self._view.nodes:
            parts.append(_nodes(self._view))
        self._live.update(Group(*parts))

    def close(self) -> None:
        """Remove the panel."""
        self._live.stop()


def _bar(done: int, total: int, text: str) -> Table:
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=total, completed=done, width=40), text)
    return bar


def _nodes(view: RunView) -> Table:
    table = Table.grid(padding=(0, 2))
    for node in view.nodes:
        version = f"version {node.version}" if node.version else ""
        table.add_row(
            node.name, node.state, version, f"working on {node.working_on}", f"done {node.done}"
        )
    return table


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
