"""The results of a fault suite: rows of the table, the ledger's counts, and a verdict.

They can be printed at any moment, so a suite that is cut short still shows what it has seen.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from shared.wire.counts import Counts


class Status(IntEnum):
    """Exit status of the suite; a signal that ended it gives 128 + its number."""

    PASSED = 0
    WRONG = 1
    """Something was lost, trained twice, stuck, or did not come back."""
    IMPOSSIBLE = 2
    """The suite cannot run on this machine."""
    UNFINISHED = 3
    """Time ran out before enough faults were injected, or before the run ended."""


@dataclass
class Row:
    """One kind of fault in the table."""

    times: int = 0
    issued: int = 0
    trained: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    recovery_s: list[float] = field(default_factory=list)

    def add(self, before: Counts, after: Counts, seconds: float) -> None:
        """Add a fault, and what the run did until it trained again."""
        # After a step back to a checkpoint, the counts are lower than before for a while.
        self.issued += max(0, after.issued - before.issued)
        self.trained += max(0, after.trained - before.trained)
        for reason, count in after.dropped.items():
            self.dropped[reason] += max(0, count - before.dropped.get(reason, 0))
        self.recovery_s.append(seconds)

    def slowest(self) -> str:
        """The longest recovery, and how many faults the run was not seen to recover from."""
        unseen = self.times - len(self.recovery_s)
        longest = f"{max(self.recovery_s):.1f} s" if self.recovery_s else ""
        return f"{longest} ({unseen} not seen to recover)".strip() if unseen else longest


@dataclass(frozen=True)
class Audit:
    """The ledger, the trainer's own figures and the record of groups, compared at one moment."""

    issued: int
    trained: int
    dropped: dict[str, int]
    in_flight: int
    lost: int
    trained_twice: int
    disagree: int
    """Groups that only one of the ledger and the trainer's own figures lists as trained."""
    unrecorded: int
    """Settled groups that are not on record exactly once: not written, nor waiting for it."""
    balanced: bool

    def faults(self, ended: bool, settled: bool) -> list[str]:
        """What is wrong with it.

        Args:
            ended: the run ended cleanly. Otherwise the trainer may be about to issue or train
                groups again, after a step back to a checkpoint.
            settled: the run has trained its last step, so no group may be in flight.
        """
        names = ["trained_twice"]
        if ended:
            names += ["lost", "disagree", "unrecorded"]
        if ended and settled:
            names += ["in_flight"]
        wrong = [f"{name}: {value}" for name in names if (value := getattr(self, name))]
        return wrong if self.balanced else [*wrong, "not balanced"]


class Account:
    """Collects the suite's results.

    Args:
        asked: names of the faults to inject.
        least: with fewer faults the suite is unfinished.
        patience_s: the longest time in which no group may be settled.
        to_the_end: the run must train its last step, so that no group is left in flight; otherwise
            the operator stops it, which is quicker.
    """

    def __init__(
        self, asked: list[str], least: int, patience_s: float, to_the_end: bool = True
    ) -> None:
        self.asked = asked
        self.to_the_end = to_the_end
        self._least = min(least, len(asked))
        self.patience_s = patience_s
        self.rows: dict[str, Row] = defaultdict(Row)
        self.audit: Audit | None = None
        self.longest_stall_s = 0.0
        self.deaths = 0
        self.cut_short: str | None = None
        """Why the suite ended early."""
        self.failure: str | None = None
        """How the system failed a fault."""
        self.comparison: str | None = None
        """What the run has learnt, compared with an undisturbed one."""
        self._printed = threading.Lock()

    @property
    def injected(self) -> int:
        """Faults so far."""
        return sum(row.times for row in self.rows.values())

    def wrong(self) -> list[str]:
        """What the system did wrong."""
        found = [] if self.failure is None else [self.failure]
        if self.audit is not None:
            ended = self.cut_short is None and self.failure is None
            found += self.audit.faults(ended, self.to_the_end)
        if self.longest_stall_s > self.patience_s:
            found.append(f"a stall of {self.longest_stall_s:.0f} s")
        return found

    def unfinished(self) -> list[str]:
        """What the suite itself did not do."""
        found = [] if self.cut_short is None else [self.cut_short]
        if self.injected < self._least:
            found.append(f"{self.injected} faults injected of at least {self._least}")
        missing = [name for name in dict.fromkeys(self.asked) if not self.rows[name].times]
        return found + ([f"never injected: {', '.join(missing)}"] if missing else [])

    def status(self) -> Status:
        """The verdict."""
        if self.wrong():
            return Status.WRONG
        return Status.UNFINISHED if self.unfinished() else Status.PASSED

    def print_once(self) -> None:
        """Print table and verdict, unless a thread has already started to."""
        if not self._printed.acquire(blocking=False):
            return
        print(self.table())
        if self.comparison is not None:
            print(self.comparison)
        print(f"processes that died or left and were started again: {self.deaths}")
        for what, found in (("wrong", self.wrong()), ("unfinished", self.unfinished())):
            if found:
                print(f"{what}: {'; '.join(found)}")
        if self.status() is Status.PASSED:
            print(f"{self.injected} faults, 0 groups lost, 0 trained twice", flush=True)

    def table(self) -> str:
        """The figures in columns, with question marks if the audit is missing."""
        head = ("fault", "times", "issued", "trained", "dropped", "lost", "twice", "slowest")
        lines = [head, *(_line(name, row) for name, row in self.rows.items() if row.times)]
        audit, stall = self.audit, f"{self.longest_stall_s:.1f} s"
        if audit is None:
            figures: tuple[object, ...] = ("?",) * 5
        else:
            dropped = _reasons(audit.dropped)
            figures = (audit.issued, audit.trained, dropped, audit.lost, audit.trained_twice)
        lines.append(("the whole run", str(self.injected), *map(str, figures), stall))
        return in_columns(lines)


def in_columns(lines: Sequence[tuple[str, ...]]) -> str:
    """The lines as text, with their cells aligned in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _line(name: str, row: Row) -> tuple[str, ...]:
    figures = (row.times, row.issued, row.trained, _reasons(row.dropped))
    return (name, *map(str, figures), "", "", row.slowest())


def _reasons(dropped: dict[str, int]) -> str:
    return ", ".join(f"{why} {count}" for why, count in dropped.items() if count) or "0"
