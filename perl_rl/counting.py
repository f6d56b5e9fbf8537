"""Shows the progress of work on many items: a bar in a terminal, else a line every ten seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

QUIET_S = 10.0
"""The time between two lines where there is no terminal."""


class Advance(Protocol):
    """To be called after each item."""

    def __call__(self) -> None:
        """Count one more item."""


@contextmanager
def counting(
    what: str, total: int | None, done: int = 0, out: TextIO | None = None
) -> Iterator[Advance]:
    """Show on `out` (default: standard error) how many items are done, of `total` if known."""
    out = out or sys.stderr
    if out.isatty():
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=out), transient=True) as bar:
            task = bar.add_task(what, total=total, completed=done)
            yield lambda: bar.advance(task)
        return
    lines = _Lines(what, total, done, out)
    if done:
        lines.write()
    try:
        yield lines.advance
    finally:
        lines.end()


class _Lines:
    def __init__(self, what: str, total: int | None, done: int, out: TextIO) -> None:
        self._what, self._done, self._out = what, done, out
        self._of = "" if total is None else f" of {total}"
        self._written_at = time.monotonic()
        self._written = 0

    def advance(self) -> None:
        self._done += 1
        if time.monotonic() - self._written_at >= QUIET_S:
            self.write()

    def end(self) -> None:
        if self._done > self._written:
            self.write()

    def write(self) -> None:
        self._written = self._done
        self._written_at = time.monotonic()
        print(f"{self._what}: {self._done}{self._of}", file=self._out, flush=True)
