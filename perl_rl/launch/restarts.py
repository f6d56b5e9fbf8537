"""How often a service that dies is started again: without end, but not in quick succession."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable


class Restarts:
    """Counts starts by name; more than `most` within `window_s` are not allowed."""

    def __init__(
        self, most: int, window_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._window_s = window_s
        self._clock = clock
        self._recent: dict[str, deque[float]] = defaultdict(deque)
        self.total: Counter[str] = Counter()
        """All restarts so far, by name."""

    def allowed(self, name: str) -> bool:
        """Whether `name` may be started again; if so, it counts."""
        now, recent = self._clock(), self._recent[name]
        while recent and now - recent[0] > self._window_s:
            recent.popleft()
        if len(recent) >= self._most:
            return False
        recent.append(now)
        self.total[name] += 1
        return True

    def refusal(self, name: str) -> str:
        """Why `name` is not started again, to go after "ended"."""
        return (
            f"again, after {len(self._recent[name])} restarts within {self._window_s:.0f} s "
            "(launcher.max_restarts, launcher.restart_window_s)"
        )
