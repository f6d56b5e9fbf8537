"""Progress of one stage: a bar in a terminal, else a line every ten seconds."""

import sys
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

QUIET_S = 10.0
"""Without a terminal: the time between two lines."""


class StageProgress:
    """Counts finished items on standard error; use it as a context manager."""

    def __init__(self, stage: str, total: int, done: int, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._stage, self._total, self._done = stage, total, done
        self._said = time.monotonic()
        self._bar: Progress | None = None
        if self._out.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            console = Console(file=self._out)
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            self._task = self._bar.add_task(stage, total=total, completed=done)

    def __enter__(self) -> "StageProgress":
        if self._bar is not None:
            self._bar.start()
        elif self._done < self._total:
            self._say()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            self._say()

    def advance(self) -> None:
        """One more item is finished."""
        self._done += 1
        if self._bar is not None:
            self._bar.advance(self._task)
        elif time.monotonic() - self._said >= QUIET_S:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        print(f"{self._stage}: {self._done}/{self._total}", file=self._out, flush=True)
