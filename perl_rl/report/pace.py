"""How far an evaluation is, and how long it will take."""

import time
from collections.abc import Callable

from perl_rl.report.progress import Progress, duration
from shared.words import amount


class Pace:
    """Shows how far an evaluation is, and says once how long it will take.

    Args:
        what: which evaluation, such as "evaluation before training".
    """

    def __init__(self, what: str, progress: Progress, note: Callable[[str], None]) -> None:
        self._what = what
        self._progress = progress
        self._note = note
        self._began: float | None = None
        self._first = self._done = self._total = 0
        self._told = False
        self.line = f"{what}, waiting for a node that holds the model"
        """How far it is, in words."""

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` answers are there."""
        now = time.monotonic()
        if self._began is None:
            self._began, self._first = now, done
        self._done, self._total = done, total
        left_s = self._left_s(now - self._began)
        self._progress.part(self._what, done, total, left_s)
        left = "" if left_s is None else f", {duration(left_s)} left"
        self.line = f"{self._what}, {done} of {amount(total, 'answer')}{left}"
        if left_s is not None and not self._told:
            self._told = True
            self._note(f"{self._what}: {amount(total, 'answer')}, {duration(left_s)} to go")

    def _left_s(self, lasted_s: float) -> float | None:
        """Known after a while: the first answers are the short ones."""
        done = self._done - self._first
        if done == 0 or ((lasted_s < 5.0 or 20 * done < self._total) and lasted_s < 60.0):
            return None
        return lasted_s / done * (self._total - self._done)

    def end(self) -> None:
        """The evaluation has ended, one way or another."""
        self._progress.part(self._what, self._total, self._total, None)

    def summary(self) -> str:
        """How long it took."""
        assert self._began is not None, "something was asked"
        took_s = time.monotonic() - self._began
        return f"{self._what}: {amount(self._total, 'answer')} in {took_s:.1f} s"
