"""CPU use during a measurement, to see whether the machine was the limit."""

import asyncio
import time
from collections import defaultdict

import psutil

_LOOK_EVERY_S = 0.05


class Load:
    """CPU time of this process and its children, by program, and the lag of its event loop.

    Create it when the measurement starts, and run `lag` beside it.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = _cpu_s()
        psutil.cpu_percent()
        self._late_s: list[float] = []

    async def lag(self) -> None:
        """Record how late each pause ends, until cancelled."""
        while True:
            due = time.monotonic() + _LOOK_EVERY_S
            await asyncio.sleep(_LOOK_EVERY_S)
            self._late_s.append(time.monotonic() - due)

    def __str__(self) -> str:
        seconds, machine = time.monotonic() - self._began, psutil.cpu_percent()
        used = {name: now - self._before[name] for name, now in _cpu_s().items()}
        parts = ", ".join(f"{name} {100 * one / seconds:.0f} %" for name, one in used.items())
        late = sorted(self._late_s)
        return (
            f"CPU, of one core: {parts}; all {psutil.cpu_count()} cores, with other programs: "
            f"{machine:.0f} % busy; event loop late by {1000 * late[len(late) // 2]:.0f} "
            f"ms (median), {1000 * late[int(0.99 * len(late))]:.0f} ms (99 %), {late[-1]:.2f} s "
            "(max)"
        )


def _cpu_s() -> dict[str, float]:
    """CPU seconds so far, by kind of process."""
    used: dict[str, float] = defaultdict(float)
    this = psutil.Process()
    used["simulation"] = sum(this.cpu_times()[:2])
    for child in this.children(recursive=True):
        try:
            words, times = " ".join(child.cmdline()), child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used["redis" if "redis" in words else "reward"] += times.user + times.system
    return used
