"""Throughput of a changing number of nodes: windows, rates per node, and their ratio."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perl_rl.eval.bootstrap import Bootstrap, Estimate, interval

RESAMPLES = 10_000


class Presence:
    """Counts the nodes that are up, and adds up their node-seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = 0
        self._node_s = 0.0
        self._clock = clock
        self._since = clock()

    def change(self, by: int) -> None:
        """Add nodes, or remove them (`by` below 0)."""
        self._node_s, self._since = self.node_s(), self._clock()
        self.now += by

    def node_s(self) -> float:
        """Integral of the number of nodes over time, from the start until now."""
        return self._node_s + self.now * (self._clock() - self._since)


@dataclass(frozen=True)
class Window:
    """What happened in one stretch of time."""

    seconds: float
    node_s: float
    """Seconds for which each node was up, added up."""
    groups: int
    """Groups settled in it."""


def mean_nodes(windows: Sequence[Window]) -> float:
    """Mean number of nodes over time."""
    return sum(one.node_s for one in windows) / sum(one.seconds for one in windows)


def per_second(windows: Sequence[Window]) -> float:
    """Groups per second."""
    return sum(one.groups for one in windows) / sum(one.seconds for one in windows)


def per_node(windows: Sequence[Window]) -> Estimate:
    """Groups per second and node, with a 95 % bootstrap interval over the windows."""
    return _bootstrap(windows, 0).ratio(*_sums(windows))


def ratio(first: Sequence[Window], second: Sequence[Window]) -> Estimate:
    """`per_node` of `first` divided by that of `second`; both sets of windows are resampled."""
    value = per_node(first).value / per_node(second).value
    draws = []
    for seed, windows in enumerate((first, second)):
        groups, node_s = _sums(windows)
        bootstrap = _bootstrap(windows, seed)
        draws.append(bootstrap.means(groups) / bootstrap.means(node_s))
    return interval(value, draws[0] / draws[1])


def _bootstrap(windows: Sequence[Window], seed: int) -> Bootstrap:
    return Bootstrap(len(windows), seed, RESAMPLES)


def _sums(windows: Sequence[Window]) -> tuple[list[float], list[float]]:
    return [float(one.groups) for one in windows], [one.node_s for one in windows]
