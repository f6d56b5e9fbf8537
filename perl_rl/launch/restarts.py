"""How often a service that dies may be restarted: any number of times, but not in a short time."""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable


class Restarts:
    """Counts restarts by name; allows at most `most` of a name within `window_s` seconds."""

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
        """Whether `name` may be restarted now; if so, counts the restart."""
        now, recent = self._clock(), self._recent[name]
        while recent and now - recent[0] > self._window_s:
            recent.popleft()
        if len(recent) >= self._most:
            return False
        recent.append(now)
        self.total[name] += 1
        return True

    def refusal(self, name: str) -> str:
        """Why `name` is not restarted, to follow the word "ended"."""
        return (
            f"again, after {len(self._recent[name])} restarts within {self._window_s:.0f} s "
            "(launcher.max_restarts, launcher.restart_window_s)"
        )
