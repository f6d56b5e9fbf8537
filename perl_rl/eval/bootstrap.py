"""Confidence intervals: Wilson's for a share of items, a bootstrap over items for the rest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

RESAMPLES = 2000
LEVEL = 0.95


class Estimate(BaseModel):
    """A figure with its 95 % confidence interval."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float


class Bootstrap:
    """Draws `items` items with replacement, `resamples` times; all figures use the same draws.

    Whole items are drawn, because the orders of one item are not independent.
    """

    def __init__(self, items: int, seed: int = 0, resamples: int = RESAMPLES) -> None:
        rng = np.random.default_rng(seed)
        self._items = items
        self._times = np.empty((resamples, items), dtype=np.float32)
        """How often each draw holds each item: (resamples, items)."""
        for draw in range(resamples):
            chosen = rng.integers(0, items, size=items)
            self._times[draw] = np.bincount(chosen, minlength=items)

    def means(self, values: Sequence[float]) -> NDArray[np.float64]:
        """The mean of each draw; `values` holds one figure for each item. Returns (resamples,)."""
        return (self._times @ np.asarray(values, dtype=np.float32)).astype(np.float64) / self._items

    def mean(self, values: Sequence[float]) -> Estimate:
        """The mean over items with its percentile interval."""
        return interval(float(np.mean(values)), self.means(values))

    def ratio(self, numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
        """The ratio of two sums over items with its percentile interval."""
        above = self._times @ np.asarray(numerators, dtype=np.float32)
        below = self._times @ np.asarray(denominators, dtype=np.float32)
        value = float(np.sum(numerators) / np.sum(denominators))
        # A draw may hold no item with a denominator.
        return interval(value, (above[below > 0] / below[below > 0]).astype(np.float64))


def interval(value: float, draws: NDArray[np.float64]) -> Estimate:
    """`value` with the percentiles of its `draws`."""
    low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value=value, low=float(low), high=float(high))


def wilson(right: int, items: int) -> Estimate:
    """A share of independent items with Wilson's score interval."""
    from scipy.stats import binomtest

    bounds = binomtest(right, items).proportion_ci(LEVEL, method="wilson")
    return Estimate(value=right / items, low=float(bounds.low), high=float(bounds.high))
