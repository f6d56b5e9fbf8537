"""The ledger's totals, and the sums of the scores."""

from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import BaseModel

IN_FLIGHT = "in_flight"
TRAINED = "trained"
DROPPED = "dropped"
SKIPPED = "skipped"


class Counts(BaseModel):
    """The ledger's totals."""

    issued: int = 0
    trained: int = 0
    in_flight: int = 0
    dropped: dict[str, int] = {}
    skipped: dict[str, int] = {}
    """Groups that were not issued, by the reason; no part of the account."""

    def balanced(self) -> bool:
        """Invariant 1 of the design: every issued group is accounted for."""
        return self.issued == self.trained + self.in_flight + sum(self.dropped.values())

    @classmethod
    def read(cls, counters: Mapping[str, int]) -> Self:
        """From the ledger's counters in Redis."""
        return cls(
            issued=counters.get("issued", 0),
            trained=counters.get(TRAINED, 0),
            in_flight=counters.get(IN_FLIGHT, 0),
            dropped=_by_reason(counters, DROPPED),
            skipped=_by_reason(counters, SKIPPED),
        )


class Scores(BaseModel):
    """Sums over the responses of all groups that were scored, kept or dropped."""

    responses: float = 0.0
    reward: float = 0.0
    accuracy: float = 0.0
    format: float = 0.0


def tally(states: Iterable[str]) -> dict[str, int]:
    """The counters of groups with these states."""
    totals = {"issued": 0}
    for state in states:
        counter = TRAINED if state.startswith(TRAINED) else state
        totals["issued"] += 1
        totals[counter] = totals.get(counter, 0) + 1
    return totals


def skip_counters(totals: Mapping[str, int]) -> dict[str, int]:
    """The ledger's counters of skipped groups, from their number by reason."""
    return {f"{SKIPPED}:{reason}": total for reason, total in totals.items()}


def _by_reason(values: Mapping[str, int], state: str) -> dict[str, int]:
    return {
        key.removeprefix(f"{state}:"): value
        for key, value in values.items()
        if key.startswith(f"{state}:")
    }
