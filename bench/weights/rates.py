"""Rates of repeated work."""

import statistics
import time
from collections.abc import Callable

from bench.facts import Figures

BUCKET = 64 << 20


def rate(work: Callable[[], object], nbytes: int, rounds: int) -> Figures:
    """GB/s of `work`, which goes through so many bytes, and what it costs this process."""
    seconds, own = [], time.process_time()
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    cpu_s = (time.process_time() - own) / rounds
    return {
        "gb_s": nbytes / 1e9 / statistics.median(seconds),
        "slowest_gb_s": nbytes / 1e9 / max(seconds),
        "fastest_gb_s": nbytes / 1e9 / min(seconds),
        "cpu_s_per_gb": cpu_s / (nbytes / 1e9),
    } | spread(seconds)


def spread(seconds: list[float]) -> Figures:
    """The shortest and the longest round."""
    return {"shortest_s": min(seconds), "longest_s": max(seconds)}
