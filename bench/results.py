"""A measured figure, its spread and its goal, and the table of all of them."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One figure: both sides were measured in turns, each round gives a value."""

    part: str
    what: str
    values: tuple[float, ...]
    aim: float
    at_least: bool = True
    """Whether the aim is a lower bound; otherwise it is an upper one."""
    unit: str = ""
    """Empty for a ratio."""

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.values)

    @property
    def missing(self) -> float:
        """How far the median is beyond the aim, on the wrong side; 0 when it is reached."""
        beyond = self.aim - self.median if self.at_least else self.median - self.aim
        return max(0.0, beyond)

    def cells(self) -> tuple[str, ...]:
        """Part, figure, median, spread, goal, and by how much it is missed."""
        bound = "at least" if self.at_least else "at most"
        verdict = f"missed by {_number(self.missing)}{self.unit}" if self.missing else "reached"
        return (
            self.part,
            self.what,
            f"{_number(self.median)}{self.unit}",
            f"{_number(min(self.values))} to {_number(max(self.values))} ({len(self.values)})",
            f"{bound} {_number(self.aim)}{self.unit}",
            verdict,
        )

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**vars(self), "median": self.median, "missing": self.missing}


HEADINGS = ("part", "figure", "median", "range (rounds)", "goal", "verdict")


def table(results: Sequence[Result], failed: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
    """The Markdown table of the results, and of the parts that gave none."""
    rows = [one.cells() for one in results]
    rows += [(part, why, "", "", "", "not measured") for part, why in failed]
    yield f"| {' | '.join(HEADINGS)} |"
    yield f"|{'---|' * len(HEADINGS)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
