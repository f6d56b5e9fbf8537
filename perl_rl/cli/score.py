"""``perl-rl score``: grades lines of ``{"response", "answer", "kind"}`` as the reward service does.

A line may also hold the other fields of an item of ``POST /score``: ``question``, ``tolerance``,
``extraction``, ``tokens``, ``max_tokens``. Output lines keep the order and gain the reward and its
parts.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, get_args

from pydantic import ValidationError
from rich.console import Console
from rich.progress import track

from services.reward.judge import Judge, JudgeUnavailable
from services.reward.penalties import MissingDetail
from services.reward.schemas import Score, ScoreRequest
from services.reward.scoring import FunctionFailed, Scorer
from shared.config import RewardConfig, load_config
from shared.config.endpoint import EndpointConfig
from shared.config.load import apply_override
from shared.config.questions import SamplingConfig
from shared.config.reward import JudgeConfig
from shared.config.section import Section
from shared.errors import UserError
from shared.grading.grade import UngradableGold
from shared.grading.pool import GraderPool
from shared.jsonlines import no_object, read_json_lines
from shared.problems import first_problem, given_word, in_words
from shared.sample import AnswerKind
from shared.together import together

Line = dict[str, Any]

_AT_ONCE = 64
_FIELDS = ("response", "answer", "kind")


@dataclass(frozen=True)
class Settings:
    """How lines are scored."""

    reward: RewardConfig
    max_tokens: int | None = None
    """The longest response, for lines without ``max_tokens``."""
    judge_cache: Path | None = None
    """Folder that keeps the judge's verdicts."""


class _Part(Section):
    """The sections of a run's file that scoring reads."""

    reward: RewardConfig = RewardConfig()
    sampling: SamplingConfig | None = None


def settings(
    config: Path | None = None,
    overrides: list[str] | None = None,
    judge: str | None = None,
    judge_model: str | None = None,
    judge_key: str | None = None,
    judge_cache: Path | None = None,
) -> Settings:
    """Settings from the options of the command line.

    Args:
        config: a run's file, for its ``reward`` section; default: the defaults.
        overrides: ``key.path=value``; without a file, of ``reward`` and ``sampling``.
        judge: address of a judge of all kinds but letters, instead of ``reward.judge``.

    Raises:
        UserError: when options contradict each other.
    """
    if (judge is None) != (judge_model is None):
        raise UserError("score: --judge URL and --judge-model NAME go together")
    run = _without_file(overrides or []) if config is None else load_config(config, overrides)
    reward = run.reward
    if judge is not None:
        try:
            endpoint = EndpointConfig(url=judge, model=str(judge_model), api_key=judge_key)
        except ValidationError as error:
            raise UserError(f"score: {first_problem(error, EndpointConfig)}") from None
        kinds = tuple(kind for kind in get_args(AnswerKind) if kind != "letter")
        named = JudgeConfig(endpoint=endpoint, kinds=kinds)
        reward = reward.model_copy(update={"judge": named})
    return Settings(reward, run.sampling.max_tokens if run.sampling else None, judge_cache)


def _without_file(overrides: list[str]) -> _Part:
    raw: Line = {}
    for override in overrides:
        apply_override(raw, override)
    try:
        return _Part.model_validate(raw)
    except ValidationError as error:
        raise UserError(
            f"score: {first_problem(error, _Part)}; without --config, --set takes keys of reward "
            "and sampling"
        ) from None


def score_file(file: Path, out: TextIO, how: Settings | None = None) -> None:
    """Grade every line of `file` and write it to `out` with its reward.

    Raises:
        UserError: naming file, line and field of the first malformed line, before anything is
            written; or the line that could not be graded.
    """
    lines = list(read_lines(file))
    if not lines:
        raise UserError(f"{file}: is empty; write one object with {', '.join(_FIELDS)} a line")
    asyncio.run(_score(lines, file, out, how or settings()))


def read_lines(file: Path) -> Iterator[tuple[int, Line]]:
    """Line numbers from 1, and the objects on them, checked for the fields of a request."""
    for number, row in read_json_lines(file):
        where = f"{file}, line {number}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: {no_object(row)}")
        _request(row, where)
        yield number, row


def _request(row: Line, where: str) -> ScoreRequest:
    known = {name: row[name] for name in ScoreRequest.model_fields if name in row}
    try:
        return ScoreRequest.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        words = in_words(first) + given_word(first)
        if first["type"] == "missing":
            words += f"; the line has {', '.join(map(str, row)) or 'no fields'}"
        raise UserError(f"{where}, field '{field}': {words}") from None


async def _score(lines: list[tuple[int, Line]], file: Path, out: TextIO, how: Settings) -> None:
    async with GraderPool(how.reward) as pool, contextlib.AsyncExitStack() as stack:
        judge = None
        if how.reward.judge is not None:
            judge = await stack.enter_async_context(Judge(how.reward.judge, how.judge_cache))
        scorer = Scorer(how.reward, pool, judge, how.max_tokens)
        shown = track(
            _batches(lines),
            description="scoring",
            total=-(-len(lines) // _AT_ONCE),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        for batch in shown:
            scored = await together(
                _score_line(scorer, row, f"{file}, line {number}") for number, row in batch
            )
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in scored)
            out.flush()


def _batches(lines: list[tuple[int, Line]]) -> Iterator[list[tuple[int, Line]]]:
    for start in range(0, len(lines), _AT_ONCE):
        yield lines[start : start + _AT_ONCE]


async def _score_line(scorer: Scorer, row: Line, where: str) -> Line:
    one = _request(row, where)
    try:
        reward = await scorer.score(one.response, one.answer, one.kind, details=one.details())
    except UngradableGold as error:
        raise UserError(f"{where}, field 'answer': {error}") from None
    except MissingDetail as error:
        raise UserError(f"{where}, field '{error.field}': {error}") from None
    except (JudgeUnavailable, FunctionFailed) as error:
        raise UserError(f"{where}: not scored; {error}") from None
    return {**row, **Score.of(reward).model_dump()}
