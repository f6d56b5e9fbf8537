"""What became of a scored group: kept, or dropped for a reason, and how right its answers were.

The first verdict of a group stands, whatever happens to it later: a group that was kept and then
became stale carried a signal all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

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

    def __str__(self) -> str:
        accuracy = "" if self.accuracy is None else f"{self.accuracy:.4f}"
        return f"{self.reason}:{accuracy}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote."""
        reason, _, accuracy = text.rpartition(":")
        return cls(reason, float(accuracy) if accuracy else None)
