"""How long a node stood idle: nothing in hand, while it was up."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class IdleClock:
    """Measures from the first piece of work on; before it, a node is starting and not idle."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: float | None = None
        self._free_since = 0.0
        self._idle_s = 0.0
        self.working = 0
        """Pieces of work in hand."""

    @contextmanager
    def work(self) -> Iterator[None]:
        """A piece of work; several may overlap."""
        moment = self._now()
        if self._first is None:
            self._first = moment
        elif self.working == 0:
            self._idle_s += moment - self._free_since
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1
            self._free_since = self._now()

    def seconds(self) -> tuple[float, float]:
        """How long it stood idle until now, and how long it was measured, in seconds."""
        if self._first is None:
            return 0.0, 0.0
        moment = self._now()
        waiting = moment - self._free_since if self.working == 0 else 0.0
        return self._idle_s + waiting, moment - self._first
