"""Throughput of a changing number of nodes: windows, rates by node, and their ratio."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perl_rl.eval.bootstrap import Bootstrap, Estimate, interval

RESAMPLES = 10_000


class Presence:
    """How many nodes there are, and for how long: node-seconds, to the moment."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = 0
        self._node_s = 0.0
        self._clock = clock
        self._since = clock()

    def change(self, by: int) -> None:
        """Nodes have come (above 0) or gone."""
        self._node_s, self._since = self.node_s(), self._clock()
        self.now += by

    def node_s(self) -> float:
        """The integral of the number of nodes over time, from the start until now."""
        return self._node_s + self.now * (self._clock() - self._since)


@dataclass(frozen=True)
class Window:
    """A stretch of time."""

    seconds: float
    node_s: float
    """Seconds of each node that was there, added up."""
    groups: int
    """Settled in it."""


def mean_nodes(windows: Sequence[Window]) -> float:
    """The number of nodes, weighted by time."""
    return sum(one.node_s for one in windows) / sum(one.seconds for one in windows)


def per_second(windows: Sequence[Window]) -> float:
    """Groups a second."""
    return sum(one.groups for one in windows) / sum(one.seconds for one in windows)


def per_node(windows: Sequence[Window]) -> Estimate:
    """Groups a second and node, with its 95 % bootstrap interval over the windows."""
    return _bootstrap(windows, 0).ratio(*_sums(windows))


def ratio(first: Sequence[Window], second: Sequence[Window]) -> Estimate:
    """`per_node` of `first` by that of `second`; the windows of both are drawn anew."""
    value = per_node(first).value / per_node(second).value
    draws = []
    for seed, windows in enumerate((first, second)):
        groups, node_s = _sums(windows)
        bootstrap = _bootstrap(windows, seed)
        draws.append(bootstrap.means(groups) / bootstrap.means(node_s))
    return interval(value, draws[0] / draws[1])


def _bootstrap(windows: Sequence[Window], seed: int) -> Bootstrap:
    return Bootstrap(len(windows), RESAMPLES, seed)


def _sums(windows: Sequence[Window]) -> tuple[list[float], list[float]]:
    return [float(one.groups) for one in windows], [one.node_s for one in windows]
