"""Counts what happened to all groups, kept or dropped, while one step was collected.

Takes the difference between the ledger's totals now and at the step before. Dropped groups are
replaced by new ones (dynamic resampling, as in DAPO, arXiv 2503.14476, section 3.2). A run that
drops every group would sample for ever, so ``trainer.max_dropped_per_step`` ends it.
"""

from collections.abc import Mapping
from typing import Any

import redis.asyncio

from shared.config import TrainerConfig
from shared.errors import UserError
from shared.wire.counts import Counts, Scores
from shared.wire.dead_letters import most_frequent_reason
from shared.wire.keys import Keys
from shared.wire.ledger import DEAD_LETTER, Ledger

_ROUNDS = 50
"""The default limit, as a multiple of ``trainer.groups_per_step``."""

_FIXES = {
    "uniform_reward": "raise sampling.temperature or sampling.n, or train on questions that are "
    "neither solved nor hopeless (docs/signals.md)",
    "accuracy_out_of_bounds": "widen reward.filter.min_accuracy and max_accuracy",
    "too_little_spread": "lower reward.filter.min_std",
    "truncated": "raise sampling.max_tokens or reward.filter.max_truncated",
    "too_few_distinct": "raise sampling.temperature or lower reward.filter.min_distinct",
    "ungradable_gold": "fix the samples that the reward service's log names",
    "bad_reward": "fix the reward function that the reward service's log names",
    "nonfinite_gradient": "see which groups the trainer's log names, and check their rewards' size",
    "dead_letter": "fix what the services could not process (perl-rl dead-letters RUN)",
    "stale": "raise trainer.max_staleness",
}


class StepTally:
    """Counts the groups of one step at a time; used by rank 0 only."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._ledger = Ledger(client, keys)
        self._counts, self._scores = Counts(), Scores()

    async def begin(self) -> None:
        """Start counting from the totals as they are now."""
        self._counts, self._scores = await self._ledger.counts(), await self._ledger.scores()

    async def close(self, trained: int) -> dict[str, Any]:
        """The step's figures for ``metrics.jsonl``; counting starts again for the next step.

        Args:
            trained: how many groups the step was trained on.
        """
        counts, scores = await self._ledger.counts(), await self._ledger.scores()
        dropped = _difference(counts.dropped, self._counts.dropped)
        skipped = _difference(counts.skipped, self._counts.skipped)
        sampled = sum(dropped.values()) + trained
        figures = {
            "groups_dropped": counts.dropped,
            "groups_dropped_step": dropped,
            "dropped_share": sum(dropped.values()) / sampled,
            "groups_skipped": counts.skipped,
            "groups_skipped_step": skipped,
            "skipped_share": sum(skipped.values()) / (sum(skipped.values()) + sampled),
            **_means(scores, self._scores),
        }
        self._counts, self._scores = counts, scores
        return figures


class DropLimit:
    """Ends a run that drops group after group; used by rank 0 only."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, config: TrainerConfig) -> None:
        self._client, self._keys = client, keys
        self._ledger = Ledger(client, keys)
        self._limit = config.max_dropped_per_step or _ROUNDS * config.groups_per_step
        self._counts: Counts | None = None

    async def begin(self) -> None:
        """Start counting from the totals as they are now: for each step anew."""
        self._counts = await self._ledger.counts()

    async def begin_once(self) -> None:
        """Start counting, unless it has been started."""
        if self._counts is None:
            await self.begin()

    async def check(self, step: int) -> None:
        """Compare the groups that were dropped while `step` was collected with the limit.

        Raises:
            UserError: naming the reasons, and how to fix the most frequent one.
        """
        now, before = await self._ledger.counts(), self._counts or Counts()
        dropped = _difference(now.dropped, before.dropped)
        total = sum(dropped.values())
        if total <= self._limit:
            return
        most = max(dropped, key=lambda reason: dropped[reason])
        reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(dropped.items()))
        fix = _FIXES.get(most, f"see the filter that gives the reason '{most}'")
        if most == DEAD_LETTER:
            fix = f"{fix}; {await most_frequent_reason(self._client, self._keys)}"
        raise UserError(
            f"trainer: {total} groups were dropped while step {step} was collected ({reasons}), "
            f"more than trainer.max_dropped_per_step ({self._limit}); {fix}"
        )


def _difference(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """New groups by reason, without reasons that have none."""
    change = {reason: total - before.get(reason, 0) for reason, total in now.items()}
    return {reason: number for reason, number in change.items() if number > 0}


def _means(now: Scores, before: Scores) -> dict[str, float | None]:
    """Mean scores of the responses that were scored in between; None without any."""
    responses = now.responses - before.responses
    return {
        f"{name}_all": (getattr(now, name) - getattr(before, name)) / responses
        if responses > 0
        else None
        for name in ("reward", "accuracy", "format")
    }
