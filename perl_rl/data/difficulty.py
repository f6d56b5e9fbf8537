"""Stage ``difficulty``: the pass rate of each question, from K rollouts graded as in training.

Each rollout is one request, with its own seed, to a rollout node's OpenAI route or any other server
of the model. From the second rollout on, the node finds the prompt in its prefix cache.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from perl_rl.asking import as_asked, short_seed
from perl_rl.data.config import DifficultySettings
from perl_rl.data.histogram import TENTHS, histogram, mean
from perl_rl.data.stage import Context, Entry, Result
from shared.chat import ChatEndpoint, EndpointFailed
from shared.config import RewardConfig
from shared.config.endpoint import EndpointConfig
from shared.files import scratch_for
from shared.grading.extract import final_answer
from shared.grading.grade import ExpressionGrader, UngradableGold, check_gold, grade
from shared.grading.pool import GraderPool
from shared.sample import Sample
from shared.together import together

PASS_RATES_FILE = "pass_rates.parquet"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("accuracy", pa.float64()),
        ("rollouts", pa.int32()),
        ("model", pa.string()),
        ("version", pa.string()),
    ]
)
"""One row for each question. ``accuracy``: the share of right answers among its rollouts.
``version``: the rollout node's policy version, null where the endpoint reports none."""


async def run(samples: Sequence[Sample], context: Context) -> Result:
    """Sample and grade. The pass rates go into the samples and into a parquet file."""
    settings, config = context.config.difficulty, context.config.endpoint_of("difficulty")
    version = await policy_version(config) if config else None
    # Two policy versions under the same name answer differently, so each has its own cache.
    cache = context.cache / (f"rollouts-{version}" if version else "rollouts")
    grading = RewardConfig(workers=context.config.workers)
    async with context.endpoint(config, cache) as endpoint, GraderPool(grading) as expressions:

        async def work(sample: Sample) -> Entry:
            measured = await _measure(endpoint, sample, settings, context.config.seed, expressions)
            return measured | {"version": version}

        at_once = -(-(config.concurrency if config else 1) // settings.rollouts) + 1
        entries = await context.each(samples, work, at_once)
    return _assemble(samples, entries, config.model if config else "", settings.rollouts)


async def policy_version(config: EndpointConfig) -> str | None:
    """The policy version that a rollout node samples with; None from any other server.

    Raises:
        EndpointFailed: when no server answers at one of the addresses, or they have different
            versions.
    """
    found = {url: await _version_at(url, config.timeout_s) for url in config.urls()}
    versions = sorted({str(version) for version in found.values()})
    if len(versions) > 1:
        raise EndpointFailed(
            f"endpoint {config.url}: its servers have different policy versions "
            f"({', '.join(versions)}); name servers of one version"
        )
    return next(iter(found.values()))


async def _version_at(address: str, timeout_s: float) -> str | None:
    url = address.rstrip("/").removesuffix("/v1") + "/readyz"
    try:
        async with httpx.AsyncClient(timeout=timeout_s) as client:
            answer = await client.get(url)
        return str(answer.json()["version"]) if answer.status_code == 200 else None
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise EndpointFailed(
            f"endpoint {address}: cannot be reached ({why}); check that its server runs"
        ) from None
    except (ValueError, LookupError, TypeError):
        return None


async def _measure(
    endpoint: ChatEndpoint,
    sample: Sample,
    settings: DifficultySettings,
    seed: int,
    expressions: ExpressionGrader,
) -> Entry:
    try:
        check_gold(sample.answer, sample.kind)
    except UngradableGold:
        return {"dropped": "answer_not_of_its_kind"}
    asked = await as_asked(sample.question, sample.images, settings.instruction)

    async def rollout(index: int) -> str | None:
        text = await endpoint.ask(
            asked,
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            seed=short_seed(seed, "difficulty", sample.id, index),
        )
        return final_answer(text)

    answers = await together(rollout(index) for index in range(settings.rollouts))
    right = [
        await grade(answer, sample.answer, sample.kind, expressions, sample.tolerance)
        for answer in answers
    ]
    return {"right": sum(right), "without_answer": answers.count(None)}


def _assemble(
    samples: Sequence[Sample], entries: dict[str, Entry], model: str, rollouts: int
) -> Result:
    result, rows, without = Result(), [], 0
    for sample in samples:
        entry = entries[sample.id]
        if "dropped" in entry:
            result.dropped[entry["dropped"]] += 1
            continue
        rate = entry["right"] / rollouts
        without += entry["without_answer"]
        result.kept.append(sample.model_copy(update={"pass_rate": rate}))
        rows.append((sample.id, rate, rollouts, model, entry["version"]))
    rates = [row[1] for row in rows]
    result.details = {
        "model": model,
        "rollouts of each question": rollouts,
        "questions by policy version": dict(Counter(str(row[4]) for row in rows)),
        "mean accuracy": mean(rates),
        "rollouts without an answer": without,
        "questions by accuracy": histogram(rates, TENTHS),
    }
    result.files[PASS_RATES_FILE] = lambda file: _write_parquet(rows, file)
    return result


def _write_parquet(rows: list[tuple[str, float, int, str, str | None]], file: Path) -> None:
    columns = dict(zip(SCHEMA.names, zip(*rows, strict=True), strict=True)) if rows else {}
    arrays = [pa.array(columns.get(field.name, ()), field.type) for field in SCHEMA]
    with scratch_for(file) as scratch:
        pq.write_table(pa.table(arrays, schema=SCHEMA), scratch)
