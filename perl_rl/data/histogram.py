"""Histograms of pass rates. Bins are given by their upper edges; the first may hold only 0."""

from collections.abc import Mapping, Sequence

TENTHS = tuple(tenth / 10 for tenth in range(11))
"""A bin for 0, then ten bins of a tenth: the pass rates that 10 rollouts can give."""

# Pass rates are quotients of small integers: 3/10 must fall into the bin that ends at 0.3.
_ROUNDING = 1e-9


def bin_of(rate: float, edges: Sequence[float]) -> int:
    """Index of the first bin whose upper edge is not below `rate`; the last edge is 1."""
    return next(index for index, edge in enumerate(edges) if rate <= edge + _ROUNDING)


def bin_name(index: int, edges: Sequence[float]) -> str:
    """A bin's name: ``0``, ``(0, 0.1]``, or ``[0, 0.5]`` for a first bin that is wider."""
    if index == 0:
        return f"{edges[0]:g}" if edges[0] == 0 else f"[0, {edges[0]:g}]"
    return f"({edges[index - 1]:g}, {edges[index]:g}]"


def histogram(rates: Sequence[float], edges: Sequence[float]) -> dict[str, int]:
    """Counts by bin name."""
    counts = [0] * len(edges)
    for rate in rates:
        counts[bin_of(rate, edges)] += 1
    return {bin_name(index, edges): count for index, count in enumerate(counts)}


def mean(rates: Sequence[float]) -> float | None:
    """The mean; None when there are no rates."""
    return sum(rates) / len(rates) if rates else None


PAPER: Mapping[float, float] = {
    0.0: 12,
    0.1: 11,
    0.2: 12,
    0.3: 14,
    0.4: 15,
    0.5: 14,
    0.6: 5,
    0.7: 5,
    0.8: 5,
    0.9: 4,
    1.0: 3,
}
"""Percent by upper edge. PeRL (arXiv 2506.14907) shows only a figure. Read off it: about 12 at 0,
11 to 17 in each tenth up to 0.5, 3 to 6 in each above, 3 at 1. Within these ranges the numbers are
chosen so that the mean is 0.38, as the paper's text says."""
