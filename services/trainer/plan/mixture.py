"""Which sample group i shows: sources interleaved by their weights, each in epochs of its own.

A pure function of the seed, the sources' sizes and weights, and i (invariant 9): a resumed run asks
on where it was.
"""

from collections.abc import Sequence

from shared.formats import SourceSize
from shared.seeds import generator


class Mixture:
    """Interleaves sources so that their shares hold in every stretch of groups.

    After any number t of groups, a source of share p has been asked less than one group more or
    less often than p * t: in any stretch of groups its count is off by less than two. The order of
    the sources is that of Tijdeman, "The chairman assignment problem", Discrete Mathematics 32
    (1980): of the sources that are far enough behind, the one that would be late first.
    """

    def __init__(self, sizes: Sequence[SourceSize], seed: int, shuffle: bool) -> None:
        total = sum(one.weight for one in sizes)
        self._sources = list(sizes)
        self._shares = [one.weight / total for one in sizes]
        self._starts = [sum(one.size for one in sizes[:i]) for i in range(len(sizes))]
        self._seed = seed
        self._shuffle = shuffle
        self._counts = [0] * len(sizes)
        # For each group so far, its source and how often that had been asked before.
        self._turns: list[tuple[int, int]] = []
        self._epoch_orders: dict[int, tuple[int, list[int]]] = {}

    def place(self, index: int) -> tuple[int, int]:
        """For group `index`, the place of its sample among all samples, and its source's epoch."""
        if len(self._sources) == 1:
            source, turn = 0, index
        else:
            while len(self._turns) <= index:
                self._take_turn()
            source, turn = self._turns[index]
        epoch, place = divmod(turn, self._sources[source].size)
        return self._starts[source] + self._epoch_order(source, epoch)[place], epoch

    def _take_turn(self) -> None:
        turns = len(self._turns) + 1
        slack = 1 / (2 * len(self._shares) - 2)
        behind = [
            part * turns - count for part, count in zip(self._shares, self._counts, strict=True)
        ]
        # Some source is behind by the slack; rounding must not hide it.
        eligible = [i for i, lag in enumerate(behind) if lag >= slack - 1e-9]
        chosen = min(eligible, key=lambda i: (1 - slack - behind[i]) / self._shares[i])
        self._turns.append((chosen, self._counts[chosen]))
        self._counts[chosen] += 1

    def _epoch_order(self, source: int, epoch: int) -> list[int]:
        held = self._epoch_orders.get(source)
        if held is None or held[0] != epoch:
            order = list(range(self._sources[source].size))
            if self._shuffle:
                # The first source is shuffled as it would be alone.
                parts = ("data", epoch) if source == 0 else ("data", source, epoch)
                generator(self._seed, *parts).shuffle(order)
            held = self._epoch_orders[source] = (epoch, order)
        return held[1]
