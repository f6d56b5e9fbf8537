"""Which sample group i asks: sources are interleaved by weight, and each has its own epochs.

A pure function of the seed, the sources' sizes and weights, and i (invariant 9): a resumed run
continues with the same samples.
"""

from collections.abc import Sequence

from shared.formats import SourceSize
from shared.seeds import generator


class Mixture:
    """Interleaves sources so that their fractions hold in every stretch of groups.

    After t groups, a source with fraction p has been asked between p * t - 1 and p * t + 1 times,
    so in any stretch of groups its count is off by less than two. The order of the sources follows
    Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980): among the sources
    that are far enough behind, it takes the one that would first be late.
    """

    def __init__(self, sizes: Sequence[SourceSize], seed: int, shuffle: bool) -> None:
        total = sum(one.weight for one in sizes)
        self._sources = list(sizes)
        self._fractions = [one.weight / total for one in sizes]
        self._starts = [sum(one.size for one in sizes[:i]) for i in range(len(sizes))]
        self._seed = seed
        self._shuffle = shuffle
        self._counts = [0] * len(sizes)
        # For each group so far: its source, and how often that source had been asked before.
        self._turns: list[tuple[int, int]] = []
        self._epoch_orders: dict[int, tuple[int, list[int]]] = {}

    def place(self, index: int) -> tuple[int, int]:
        """The index of the group's sample among all samples, and the epoch of its source."""
        if len(self._sources) == 1:
            source, turn = 0, index
        else:
            while len(self._turns) <= index:
                self._take_turn()
            source, turn = self._turns[index]
        epoch, place = divmod(turn, self._sources[source].size)
        return self._starts[source] + self._epoch_order(source, epoch)[place], epoch

    def epochs(self, index: int) -> list[int]:
        """How many whole epochs of each source were asked before group `index`."""
        if len(self._sources) == 1:
            return [index // self._sources[0].size]
        if index > 0:
            self.place(index - 1)
        asked = [source for source, _ in self._turns[:index]]
        return [asked.count(number) // one.size for number, one in enumerate(self._sources)]

    def _take_turn(self) -> None:
        turns = len(self._turns) + 1
        slack = 1 / (2 * len(self._fractions) - 2)
        behind = [
            fraction * turns - count
            for fraction, count in zip(self._fractions, self._counts, strict=True)
        ]
        # At least one source is behind by the slack; the tolerance is for rounding.
        eligible = [i for i, lag in enumerate(behind) if lag >= slack - 1e-9]
        chosen = min(eligible, key=lambda i: (1 - slack - behind[i]) / self._fractions[i])
        self._turns.append((chosen, self._counts[chosen]))
        self._counts[chosen] += 1

    def _epoch_order(self, source: int, epoch: int) -> list[int]:
        held = self._epoch_orders.get(source)
        if held is None or held[0] != epoch:
            order = list(range(self._sources[source].size))
            if self._shuffle:
                # A run's first source is shuffled the same when others are added.
                parts = ("data", epoch) if source == 0 else ("data", source, epoch)
                generator(self._seed, *parts).shuffle(order)
            held = self._epoch_orders[source] = (epoch, order)
        return held[1]
