"""Gold answers that no response can match, reported with the file and row that has them first."""

import asyncio
import os
from collections.abc import Callable

from shared.config import RewardConfig
from shared.formats import Located
from shared.grading.golds import gold_matches_itself
from shared.grading.grade import UngradableGold
from shared.grading.pool import GraderPool
from shared.sample import AnswerKind
from shared.together import together

_MOST_LINES = 20
_MOST_WORKERS = 16
_AT_ONCE = 64

Gold = tuple[str, AnswerKind]


class Golds:
    """The different gold answers of samples, in the order in which they came."""

    def __init__(self) -> None:
        self._places: dict[Gold, str] = {}
        self._samples: dict[Gold, int] = {}

    def add(self, one: Located) -> None:
        gold = one.sample.answer, one.sample.kind
        if gold not in self._places:
            self._places[gold] = one.place()
        self._samples[gold] = self._samples.get(gold, 0) + 1

    def __len__(self) -> int:
        """How many different gold answers there are."""
        return len(self._places)

    def unmatched(
        self,
        config: RewardConfig,
        most: int | None = None,
        progress: Callable[[str], None] = lambda doing: None,
        advance: Callable[[], None] = lambda: None,
    ) -> list[str]:
        """A line for each gold answer that even its own text in a box does not match.

        Args:
            config: limits of the grader processes; one runs for each core, at most 16.
            most: compare only so many different gold answers.
            progress: called with what is being done now.
            advance: called after each gold answer.
        """
        golds = list(self._places)[:most]
        workers = min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
        pool = config.model_copy(update={"workers": workers})
        lines = [line for line in asyncio.run(self._lines(golds, pool, progress, advance)) if line]
        if len(lines) > _MOST_LINES:
            rest = len(lines) - _MOST_LINES
            lines[_MOST_LINES:] = [f"{rest} more gold answers that no answer matches"]
        if len(golds) < len(self._places):
            lines.append(f"gold answers: the first {len(golds)} of {len(self._places)} compared")
        return lines

    async def _lines(
        self,
        golds: list[Gold],
        config: RewardConfig,
        progress: Callable[[str], None],
        advance: Callable[[], None],
    ) -> list[str | None]:
        lines: list[str | None] = []
        async with GraderPool(config) as pool:
            for start in range(0, len(golds), _AT_ONCE):
                progress(f"comparing gold answers: {start} of {len(golds)}")
                batch = golds[start : start + _AT_ONCE]
                lines += await together(self._line(gold, pool) for gold in batch)
                for _ in batch:
                    advance()
        return lines

    async def _line(self, gold: Gold, pool: GraderPool) -> str | None:
        answer, kind = gold
        try:
            if await gold_matches_itself(answer, kind, pool):
                return None
            why = (
                f"no answer matches the gold answer {answer[:80]!r} of kind '{kind}', not even its "
                "own text in a box; write it in plain LaTeX, or give it another kind"
            )
        except UngradableGold as error:
            why = str(error)
        more = self._samples[gold] - 1
        return f"{self._places[gold]}: {why}" + (f" (and {more} more with it)" if more else "")
