"""What became of a scored group: kept, or dropped for a reason, and how right its answers were.

The first verdict of a group stands, whatever happens to it later: a group that was kept and then
became stale carried a signal all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import redis.asyncio

from shared.wire.counts import DROPPED, skip_counters
from shared.wire.keys import Keys

KEPT = "kept"
LATE = "late"
"""Reason of a verdict that decisions no longer wait for; the group goes on."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one group."""

    reason: str
    """`KEPT`, or why the group was dropped."""
    accuracy: float | None = None
    """Mean accuracy of its responses; None when they were not all scored."""

    @classmethod
    def of_scores(cls, reason: str, sums: Mapping[str, float]) -> Self:
        """Of a group with these `ScoredGroup.score_sums`; empty when it was not scored."""
        responses = sums.get("responses", 0.0)
        return cls(reason, sums["accuracy"] / responses if responses else None)

    @classmethod
    def of_state(cls, state: str) -> Self:
        """What the state of a settled group tells."""
        reason = state.removeprefix(f"{DROPPED}:")
        return cls(KEPT if reason == state else reason)

    def __str__(self) -> str:
        accuracy = "" if self.accuracy is None else f"{self.accuracy:.4f}"
        return f"{self.reason}:{accuracy}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote."""
        reason, _, accuracy = text.rpartition(":")
        return cls(reason, float(accuracy) if accuracy else None)


class Verdicts:
    """The verdicts of one run, and the counts of what was skipped because of them.

    Verdicts are recorded by the ledger's scripts, with the change of state that causes them.
    """

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def all(self) -> dict[str, str]:
        """Group id to its first `Verdict` as text, for every group that has one.

        A checkpoint keeps it: which questions are skipped depends on it.
        """
        raw = await self._client.hgetall(self._keys.verdicts)
        return {group.decode(): verdict.decode() for group, verdict in raw.items()}

    async def of(self, group_id: str) -> Verdict | None:
        """The first verdict on a group; None as long as it has none."""
        raw = await self._client.hget(self._keys.verdicts, group_id)
        return None if raw is None else Verdict.parse(raw.decode())

    async def stop_waiting(self, group_id: str) -> Verdict:
        """The first verdict on a group: `LATE` when there is none by now."""
        late = Verdict(LATE)
        if await self._client.hsetnx(self._keys.verdicts, group_id, str(late)):
            return late
        found = await self.of(group_id)
        return found or late

    async def skip(self, totals: Mapping[str, int]) -> None:
        """Record how many groups were skipped since the run began, by reason."""
        if totals:
            await self._client.hset(self._keys.counts, mapping=skip_counters(totals))
