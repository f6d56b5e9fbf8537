"""How many groups may be in flight, so that the staleness limit can train all that are kept.

A group that is issued now can be trained in this step or one of the next ``max_staleness``, so
``(max_staleness + 1) * groups_per_step`` groups have a place. Filters drop some groups. If each one
took a place until it is dropped, the nodes would have little work while a step waits for its last
groups. So there may be more: as many as the nodes work on at once, while those that will probably
be kept have a place. Not more than that: a node that has work gains nothing, and a group that is
kept and finds no place is dropped as stale.
"""

import math


def most_in_flight(places: int, scored: int, kept_share: float, at_once: int) -> int:
    """How many groups may be in flight.

    Args:
        places: groups that the staleness limit can train.
        scored: groups in flight that passed the filters.
        kept_share: the share of groups that pass, above 0.
        at_once: groups that keep the nodes busy.

    Returns:
        `scored` and n more: the places that are left, or up to `at_once`, the largest n for which
        ``n p + sqrt(n p (1 - p))`` is at most these places, mean and standard deviation of the
        binomial distribution of how many are kept.
    """
    left = max(0, places - scored)
    spread = math.sqrt(kept_share * (1.0 - kept_share))
    root = (math.sqrt(spread**2 + 4.0 * kept_share * left) - spread) / (2.0 * kept_share)
    return scored + max(left, min(at_once, math.floor(root**2)))


class KeptShare:
    """The share of groups that pass the filters, of about the last `memory` ones.

    Starts at 1: groups are held back until it is known that some are dropped.
    """

    LEAST = 0.2
    """The share is not taken to be smaller: it bounds the groups in flight."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._kept = self._scored = float(memory)
        self._totals: tuple[int, int] | None = None

    def see(self, kept: int, dropped: int) -> None:
        """Take in the totals so far of groups that passed and of groups that were dropped."""
        before_kept, before_dropped = self._totals or (kept, dropped)
        self._totals = (kept, dropped)
        new_kept, new_dropped = max(0, kept - before_kept), max(0, dropped - before_dropped)
        fading = math.exp(-(new_kept + new_dropped) / self._memory)
        self._kept = self._kept * fading + new_kept
        self._scored = self._scored * fading + new_kept + new_dropped

    @property
    def share(self) -> float:
        """The share now, between `LEAST` and 1."""
        return min(1.0, max(self.LEAST, self._kept / self._scored))
