"""``perl-rl score``: grades lines of ``{"response", "answer", "kind"}`` as the reward service does.

The lines come out in their order with ``accuracy``, ``format``, ``reward`` and ``extracted`` added.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, get_args

from rich.console import Console
from rich.progress import track

from services.reward.grading import UngradableGold
from services.reward.scoring import Scorer
from services.reward.workers import GraderPool
from shared.config import RewardConfig
from shared.errors import UserError
from shared.jsonlines import read_json_lines
from shared.sample import AnswerKind

Line = dict[str, Any]

_AT_ONCE = 64
_FIELDS = ("response", "answer", "kind")


def score_file(file: Path, out: TextIO, config: RewardConfig | None = None) -> None:
    """Grade every line of `file` and write it to `out` with its reward.

    Raises:
        UserError: naming file, line and field of the first line that does not fit; nothing is
            written when the line's form is at fault.
    """
    lines = list(read_lines(file))
    asyncio.run(_score(lines, file, out, config or RewardConfig()))


def read_lines(file: Path) -> Iterator[tuple[int, Line]]:
    """Line numbers from 1 and their objects, each with the fields that scoring needs."""
    for number, row in read_json_lines(file):
        yield number, _checked(row, f"{file}, line {number}")


def _checked(row: Any, where: str) -> Line:
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be an object with {', '.join(_FIELDS)}")
    for field in _FIELDS:
        if not isinstance(row.get(field), str):
            raise UserError(f"{where}, field '{field}': must be there and be text")
    if row["kind"] not in get_args(AnswerKind):
        kinds = ", ".join(get_args(AnswerKind))
        raise UserError(f"{where}, field 'kind': '{row['kind']}' is none of {kinds}")
    return row


async def _score(
    lines: list[tuple[int, Line]], file: Path, out: TextIO, config: RewardConfig
) -> None:
    async with GraderPool(config) as pool:
        scorer = Scorer(config, pool)
        shown = track(
            _batches(lines),
            description="scoring",
            total=-(-len(lines) // _AT_ONCE),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        for batch in shown:
            scored = await asyncio.gather(
                *(_score_line(scorer, row, f"{file}, line {number}") for number, row in batch)
            )
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in scored)
            out.flush()


def _batches(lines: list[tuple[int, Line]]) -> Iterator[list[tuple[int, Line]]]:
    for start in range(0, len(lines), _AT_ONCE):
        yield lines[start : start + _AT_ONCE]


async def _score_line(scorer: Scorer, row: Line, where: str) -> Line:
    try:
        reward = await scorer.score(row["response"], row["answer"], row["kind"])
    except UngradableGold as error:
        raise UserError(f"{where}, field 'answer': {error}") from None
    return {
        **row,
        "accuracy": reward.accuracy,
        "format": reward.format,
        "reward": reward.total,
        "extracted": reward.extracted,
    }
