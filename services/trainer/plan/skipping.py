"""Which groups are issued: questions whose last groups carried no signal are skipped.

After GRESO (arXiv 2506.02177): a question whose last ``z`` groups in a row carried no signal is
sampled with the probability ``rate ** z``. Easy questions (answered right) and hard ones (answered
wrong) have a rate of their own, which falls while groups of that side are more than their part of
``data.skipping.target``, and rises otherwise. A question that was never sampled is sampled.

Departures from GRESO:

- The probability never falls below ``data.skipping.explore``: every question is sampled again,
  after ``1 / explore`` visits on the average.
- A group without a signal is one that the filters dropped, for whatever reason.
- After a group in which all answers but one were right, a question is as easy as after one in which
  all were: in the demo the next group has no signal 71 and 74 times in 100, and 26 times after
  other groups with a signal.
- The rates follow what they control, the groups of questions that were sampled before. They move in
  proportion to how far those are from their part, and slowly enough not to swing.

Results arrive in any order, and no decision depends on it. Groups are issued in the order of their
indices, and the decision before the k-th issue knows the verdicts on the first ``k - lag`` issued
groups, no more and no less. So the decisions follow from the verdicts alone, and a resumed run that
has the same verdicts makes the same ones (invariant 9).
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

from services.trainer.plan.groups import GroupPlan
from shared.config import Config
from shared.seeds import derive
from shared.wire.verdicts import KEPT, Verdict

Side = Literal["easy", "hard"]

_PARTS: dict[Side, float] = {"easy": 1 / 3, "hard": 2 / 3}
"""How the target is divided, as in GRESO: hard questions are tried more often than easy ones, as
the policy can still learn to answer them."""
_START = 0.5
_DRAWS = 1 << 63


@dataclass(frozen=True)
class Turn:
    """A group whose turn it is to be issued."""

    index: int
    progress: float
    """The fraction of training that is done at the step that will train it, as far as one can say:
    the pending groups are taken to be kept as often as the earlier ones."""


@dataclass
class Trace:
    """What the groups of a question have shown."""

    streak: int = 0
    """Groups without a signal since the last one with a signal; 1 more if all answers of that one
    were right but one."""
    side: Side = "easy"
    """The side of the last of them."""


class Skipping:
    """Walks through the run's groups, and says which are issued.

    Before each `next`, the verdict on the group that is `awaited`, if any, is given to `learn`.
    """

    def __init__(self, config: Config, plan: GroupPlan) -> None:
        trainer, self._settings = config.trainer, config.data.skipping
        self._seed, self._plan = config.seed, plan
        self._responses = config.group_size()
        self._steps, self._per_step = trainer.steps, trainer.groups_per_step
        self._lag = _lag(config)
        self._index = 0
        self._pending: deque[tuple[int, str]] = deque()
        """Issued groups whose verdicts are not learned yet, with the ids of their samples."""
        self._scored = self._kept = 0
        self._traces: dict[str, Trace] = {}
        self._rates: dict[Side, float] = {"easy": _START, "hard": _START}
        self.skipped: Counter[str] = Counter()
        """Groups that were skipped so far, by the side of their question."""

    def awaited(self) -> int | None:
        """The group whose verdict the next decision depends on; None when it depends on none."""
        return self._pending[0][0] if len(self._pending) > self._lag else None

    def learn(self, verdict: Verdict) -> None:
        """Take in the verdict on the group that is `awaited`."""
        _, sample_id = self._pending.popleft()
        if verdict.reason != KEPT and verdict.accuracy is None:
            return  # It was dropped before it was scored.
        side = _side(verdict)
        self._scored, self._kept = self._scored + 1, self._kept + (side is None)
        trace = self._traces.get(sample_id)
        if trace is None:
            trace = self._traces[sample_id] = Trace()
        else:
            self._adapt(side)
        if side is None:
            trace.streak, trace.side = int(self._is_nearly_solved(verdict)), "easy"
        else:
            trace.streak, trace.side = trace.streak + 1, side

    def next(self) -> Turn:
        """The next group to issue; those before it are skipped."""
        while (side := self._skips(self._index)) is not None:
            self.skipped[side] += 1
            self._index += 1
        turn = Turn(self._index, self._progress())
        self._pending.append((turn.index, self._plan.sample(turn.index)[0].id))
        self._index += 1
        return turn

    def probability(self, sample_id: str) -> float:
        """How probable it is that the next visit of a question is sampled."""
        trace = self._traces.get(sample_id)
        if self._settings.target is None or trace is None or trace.streak == 0:
            return 1.0
        return max(self._settings.explore, self._rates[trace.side] ** trace.streak)

    def _skips(self, index: int) -> Side | None:
        """The side of the group's question when it is skipped; None when it is issued."""
        sample, epoch = self._plan.sample(index)
        probability = self.probability(sample.id)
        if probability == 1.0:
            return None
        draw = derive(self._seed, "skipping", sample.id, epoch) / _DRAWS
        return None if draw < probability else self._traces[sample.id].side

    def _is_nearly_solved(self, verdict: Verdict) -> bool:
        """Whether all answers but one were right."""
        return verdict.accuracy is not None and (1 - verdict.accuracy) * self._responses < 1.5

    def _adapt(self, side: Side | None) -> None:
        """Move the rates by a group of a question that was sampled before; None: it was kept."""
        target, least = self._settings.target or 0.0, self._settings.explore
        for one, part in _PARTS.items():
            moved = self._rates[one] + (part * target - (side == one)) / self._lag
            self._rates[one] = min(1.0, max(least, moved))

    def _progress(self) -> float:
        share = self._kept / self._scored if self._scored else 1.0
        trained = self._kept + int(share * len(self._pending))
        return min(1.0, trained // self._per_step / self._steps)


def _lag(config: Config) -> int:
    """How many of the last issued groups a decision does not depend on.

    Enough that few stragglers are waited for: twice the groups that the staleness limit can train,
    as about half of all groups are kept, and a step more. Without skipping, fewer may be kept.
    """
    trainer = config.trainer
    places = (trainer.max_staleness + 1) * trainer.groups_per_step
    return places * (5 if config.data.skipping.target is None else 2) + trainer.groups_per_step


def _side(verdict: Verdict) -> Side | None:
    """The side of a group that the filters dropped, None of one that they kept."""
    if verdict.reason == KEPT:
        return None
    return "easy" if (verdict.accuracy or 0.0) >= 0.5 else "hard"
