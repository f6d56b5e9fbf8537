"""Which groups are not worth sampling: questions whose last groups carried no signal are skipped.

After GRESO (arXiv 2506.02177, section 4): a question whose last ``z`` groups in a row carried no
signal is sampled with the probability ``rate ** z``. Easy questions (answered right) and hard ones
(answered wrong) have a rate of their own, which falls while groups of that side are more than
their share of ``data.skipping.target``, and rises otherwise. A question that was never sampled is
sampled.

Departures from GRESO: the probability never falls below ``data.skipping.explore``, so that every
question is sampled again, after ``1 / explore`` visits on the average; a verdict is whatever the
filters said, not only equal rewards.

Results arrive in any order; a decision depends on none of it. Groups are issued in the order of
their indices, and the decision before the k-th issue knows the verdicts on the first ``k - lag``
issued groups, no more and no less. So the decisions follow from the verdicts alone, and a resumed
run makes them again (invariant 9).
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

from services.trainer.plan.groups import GroupPlan
from shared.config import Config
from shared.seeds import derive
from shared.wire.verdicts import KEPT, Verdict

Side = Literal["easy", "hard"]

_SHARES: dict[Side, float] = {"easy": 1 / 3, "hard": 2 / 3}
"""How the target is divided, as in GRESO: a hard question is worth another look more than an easy
one, which the policy can hardly learn from."""
_START = 0.5
_MOVE = 0.05
_DRAWS = 1 << 63


def side_of(verdict: Verdict) -> Side | None:
    """Which side a group without a signal was on; None when it had one, or was never scored."""
    if verdict.reason == KEPT or verdict.accuracy is None:
        return None
    return "easy" if verdict.accuracy >= 0.5 else "hard"


@dataclass
class Trace:
    """What a question's groups have shown so far."""

    streak: int = 0
    """Groups without a signal, since the last one with a signal."""
    side: Side = "easy"
    """The side of the last of them."""


class Skipping:
    """Walks through the run's groups and says which are issued.

    Before each `next`, the verdict on `awaited`, if there is one, has to be given to `learn`.
    """

    def __init__(self, config: Config, plan: GroupPlan) -> None:
        trainer, self._settings = config.trainer, config.data.skipping
        self._seed, self._plan = config.seed, plan
        self._per_step = trainer.groups_per_step
        # The groups that may be in flight at once, and a step more: a straggler holds nobody up.
        self._lag = (trainer.max_staleness + 2) * trainer.groups_per_step
        self._index = 0
        self._pending: deque[int] = deque()
        self._traces: dict[str, Trace] = {}
        self._sides: Counter[Side | None] = Counter()
        self.rates: dict[Side, float] = {"easy": _START, "hard": _START}
        self.skipped: Counter[str] = Counter()
        """Visits of questions that were skipped so far, by side."""

    def awaited(self) -> int | None:
        """The group whose verdict the next decision depends on; None when it depends on none."""
        return self._pending[0] if len(self._pending) > self._lag else None

    def learn(self, verdict: Verdict) -> None:
        """Take in the verdict on the group that is `awaited`."""
        sample, _ = self._plan.sample(self._pending.popleft())
        side = side_of(verdict)
        if side is not None:
            trace = self._traces.setdefault(sample.id, Trace())
            trace.streak, trace.side = trace.streak + 1, side
        elif verdict.reason == KEPT:
            self._traces.pop(sample.id, None)
        else:
            return
        self._sides[side] += 1
        if self._sides.total() == self._per_step:
            self._adapt()

    def next(self) -> int:
        """The index of the next group to issue; the groups before it are skipped."""
        while (side := self._skips(self._index)) is not None:
            self.skipped[side] += 1
            self._index += 1
        index = self._index
        self._index += 1
        if self._settings.target is not None:
            self._pending.append(index)
        return index

    def probability(self, sample_id: str) -> float:
        """How probable it is that a visit of this question is sampled, as things stand."""
        trace = self._traces.get(sample_id)
        if trace is None:
            return 1.0
        return max(self._settings.explore, self.rates[trace.side] ** trace.streak)

    def _skips(self, index: int) -> Side | None:
        sample, epoch = self._plan.sample(index)
        probability = self.probability(sample.id)
        if probability == 1.0:
            return None
        draw = derive(self._seed, "skipping", sample.id, epoch) / _DRAWS
        return None if draw < probability else self._traces[sample.id].side

    def _adapt(self) -> None:
        """Move each rate by what the last step's worth of verdicts showed."""
        total, target = self._sides.total(), self._settings.target or 0.0
        for side, share in _SHARES.items():
            too_many = self._sides[side] / total >= target * share
            moved = self.rates[side] + (-_MOVE if too_many else _MOVE)
            self.rates[side] = min(1.0, max(self._settings.explore, moved))
        self._sides.clear()
