"""One evaluation: plan the questions, ask them, grade the responses, and summarise."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from perl_rl.counting import counting
from perl_rl.eval.items import Benchmark, Item
from perl_rl.eval.models import Decoding, Model
from perl_rl.eval.plan import Question, by_item, plan
from perl_rl.eval.results import AnswerResult, ItemResult, Result
from perl_rl.eval.rows import BadRow, by_reason
from perl_rl.eval.scoring import same_answers, score_and_judge
from perl_rl.eval.summarise import robustness, summarise
from perl_rl.journal import Journal
from perl_rl.resumable import work_through
from services.reward.judge import Judge
from shared.config import RewardConfig
from shared.grading.grade import ExpressionGrader
from shared.grading.pool import GraderPool
from shared.permutation import Permutation, answer_in_original, refusal
from shared.sample import Sample
from shared.together import together

T = TypeVar("T")

_GRADED_AT_ONCE = 64

ONE_ORDER = "only one order was asked"


@dataclass(frozen=True)
class Asking:
    """How each item is asked."""

    decoding: Decoding
    orders: int = 1
    """How many orders of an item that may be permuted, with the original one."""
    floor: bool = False
    """Also ask the original order as often as there are orders."""
    seed: int = 0


def evaluate(
    benchmark: Benchmark,
    items: Sequence[Item],
    name: str,
    model: AbstractAsyncContextManager[Model],
    asking: Asking,
    journal: Path,
    more_settings: dict[str, Any],
    judge: Judge | None = None,
    skipped: Sequence[BadRow] = (),
) -> Result:
    """Ask `model` all items and grade the responses; those in `journal` are not asked again.

    Args:
        name: the model's name in the result.
        model: opened only when a question is left to ask.
        more_settings: other settings that must be the same to continue the journal.
        judge: asked about open answers that the rules find wrong.
        skipped: rows of the benchmark that were left out.

    Raises:
        UserError: when model or judge gives no answer, or the journal belongs to other settings.
    """
    questions = plan(items, asking.orders, asking.floor, asking.seed)
    settings = {**_settings(benchmark, name, questions, asking), **more_settings}
    with Journal[str](journal, settings, other="refused") as responses:
        asyncio.run(_collect(questions, model, responses, asking.seed))
        results = asyncio.run(_grade(questions, responses.entries, asking.orders, judge))
    samples = [item.sample for item in items]
    return Result(
        benchmark=benchmark.name,
        model=name,
        settings=settings,
        summary=summarise(benchmark, results, judge.name if judge else None),
        robustness=robustness(samples, results, asking.seed),
        items=tuple(results),
        skipped=by_reason(skipped),
    )


def _settings(
    benchmark: Benchmark, name: str, questions: Sequence[Question], asking: Asking
) -> dict[str, Any]:
    return {
        "benchmark": benchmark.name,
        "model": name,
        "questions": len(questions),
        "questions_sha256": _digest(questions),
        "orders": asking.orders,
        "floor": asking.floor,
        "seed": asking.seed,
        "instruction": asking.decoding.instruction,
        "max_tokens": asking.decoding.max_tokens,
        "temperature": asking.decoding.temperature,
    }


def _digest(questions: Sequence[Question]) -> str:
    """Digest of all texts, images and answers."""
    whole = hashlib.sha256()
    for question in questions:
        rendered = question.rendered
        parts = [question.key, rendered.question, hashes(rendered.images), rendered.answer]
        whole.update(json.dumps(parts).encode())
    return whole.hexdigest()


def hashes(files: Sequence[str]) -> tuple[str, ...]:
    """SHA-256 of kept images: the names of their files."""
    return tuple(Path(file).stem for file in files)


async def _collect(
    questions: Sequence[Question],
    model: AbstractAsyncContextManager[Model],
    journal: Journal[str],
    seed: int,
) -> None:
    if all(question.key in journal.entries for question in questions):
        return
    async with model as open_model:
        await work_through(
            "answered",
            questions,
            name=lambda question: question.key,
            work=lambda question: open_model.ask(question.prompt(seed)),
            journal=journal,
            at_once=open_model.concurrency,
        )


async def _grade(
    questions: Sequence[Question], responses: dict[str, str], orders: int, judge: Judge | None
) -> list[ItemResult]:
    groups = by_item(questions)
    results: list[ItemResult] = []
    async with GraderPool(RewardConfig()) as pool, judge or contextlib.nullcontext():
        with counting("graded", len(groups)) as advance:
            for start in range(0, len(groups), _GRADED_AT_ONCE):
                chunk = groups[start : start + _GRADED_AT_ONCE]
                results += await together(
                    _item_result(group, responses, orders, pool, judge) for group in chunk
                )
                for _ in chunk:
                    advance()
    return results


async def _item_result(
    questions: Sequence[Question],
    responses: dict[str, str],
    orders: int,
    expressions: ExpressionGrader,
    judge: Judge | None,
) -> ItemResult:
    item = questions[0].item
    verdicts = [
        await score_and_judge(item, one.rendered.answer, responses[one.key], expressions, judge)
        for one in questions
    ]
    given = await same_answers(item, [verdict.given for verdict in verdicts], expressions)
    answers = [
        AnswerResult(
            order=question.order,
            repeat=question.repeat,
            permutation=question.rendered.permutation,
            prompt=question.rendered.question,
            images=hashes(question.rendered.images),
            gold=question.rendered.answer,
            response=responses[question.key],
            extracted=verdict.extracted,
            given=alike,
            in_original=_in_original(item.sample, alike, question.rendered.permutation),
            right=verdict.right,
            steps_right=verdict.steps_right,
            judged=verdict.judged,
        )
        for question, verdict, alike in zip(questions, verdicts, given, strict=True)
    ]
    return ItemResult(
        id=item.sample.id,
        task=item.sample.source,
        kind=item.sample.kind,
        groups=item.groups,
        excluded=refusal(item.sample) if orders > 1 else ONE_ORDER,
        answers=tuple(answers),
    )


def _in_original(sample: Sample, given: str | None, permutation: Permutation) -> str | None:
    return None if given is None else answer_in_original(given, sample, permutation)
