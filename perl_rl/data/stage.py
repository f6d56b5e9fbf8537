"""Runs any stage: a finished one is skipped, a half-done one continues item by item.

A stage's output depends only on the samples and the journal's entries, not on the order in which
items were finished nor on how often the process was killed.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perl_rl.data.config import PrepareConfig, StageName
from perl_rl.data.files import SAMPLES_FILE, load_output, save, work_digest
from perl_rl.data.owner import JOURNAL_FILE, REPORT_FILE
from perl_rl.data.report import StageReport, counted
from perl_rl.journal import Journal
from perl_rl.resumable import work_through
from shared.chat import ChatEndpoint, RequestRefused
from shared.config.endpoint import EndpointConfig
from shared.errors import UserError
from shared.files import make_folder, write_atomically
from shared.sample import Sample

STAMP_FILE = "stamp.json"

Entry = dict[str, Any]
"""What a stage writes to the journal about a finished sample."""

Work = Callable[[Sample], Awaitable[Entry]]


@dataclass
class Result:
    """What a stage returns; the samples keep their order."""

    kept: list[Sample] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    details: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    """Other files by name, each with the function that writes it."""


@dataclass(frozen=True)
class Context:
    """What a stage works with while it runs."""

    stage: StageName
    config: PrepareConfig
    cache: Path
    """Folder of the endpoints' answers."""
    journal: Journal[Entry]

    async def each(self, samples: Sequence[Sample], work: Work, at_once: int) -> dict[str, Entry]:
        """Work on the samples that the journal lacks, `at_once` at a time.

        Returns the entries by sample id; one with ``dropped`` says why its sample is dropped.

        Raises:
            UserError: the first that `work` raises; finished samples are in the journal.
        """
        await work_through(
            self.stage,
            samples,
            name=lambda sample: sample.id,
            work=lambda sample: self._entry(work, sample),
            journal=self.journal,
            at_once=at_once,
        )
        return self.journal.entries

    async def _entry(self, work: Work, sample: Sample) -> Entry:
        try:
            return await work(sample)
        except RequestRefused as refused:
            if self.config.refused == "drop":
                return {"dropped": "endpoint_refused_the_request"}
            raise RequestRefused(
                f"sample '{sample.id}': {refused}; fix the sample, or drop it by refused: drop"
            ) from None

    @asynccontextmanager
    async def endpoint(
        self, config: EndpointConfig | None, cache: Path | None = None
    ) -> AsyncIterator[ChatEndpoint]:
        """The endpoint of this stage, with its answers cached on disk.

        Raises:
            UserError: when the configuration names no endpoint.
        """
        if config is None:
            raise UserError(
                f"{self.stage}: no endpoint to ask; set endpoint or {self.stage}.endpoint"
            )
        async with ChatEndpoint(config, cache or self.cache) as endpoint:
            yield endpoint


Stage = Callable[[Sequence[Sample], Context], Coroutine[Any, Any, Result]]


def run_stage(
    name: StageName,
    stage: Stage,
    samples: Sequence[Sample],
    config: PrepareConfig,
    folder: Path,
) -> tuple[list[Sample], StageReport]:
    """Run one stage in its `folder`, or read its output when nothing has changed since.

    Raises:
        UserError: when the stage cannot continue; finished samples are kept.
    """
    make_folder(folder, "--out")
    work = work_digest(samples, _decisive(name, config), folder.resolve())
    output, stamp = folder / SAMPLES_FILE, folder / STAMP_FILE
    if not _finished(stamp, work):
        stamp.unlink(missing_ok=True)
        # A journal of other work is normal: an earlier stage may have kept other samples.
        known = {"stage": name, "digest": work}
        with Journal[Entry](folder / JOURNAL_FILE, known, other="anew") as journal:
            context = Context(name, config, config.work / "cache", journal)
            result = asyncio.run(stage(samples, context))
        _write(name, result, len(samples), folder)
        write_atomically(stamp, json.dumps({"work": work}))
    report = StageReport.model_validate_json((folder / REPORT_FILE).read_text(encoding="utf-8"))
    return load_output(output), report


def _write(name: StageName, result: Result, taken: int, folder: Path) -> None:
    for file, write in result.files.items():
        write(folder / file)
    save(result.kept, folder / SAMPLES_FILE)
    report = StageReport(
        stage=name,
        taken=taken,
        kept=len(result.kept),
        dropped=counted(result.dropped),
        details=result.details,
    )
    write_atomically(folder / REPORT_FILE, report.model_dump_json(indent=1) + "\n")


def _finished(stamp: Path, work: str) -> bool:
    try:
        return bool(json.loads(stamp.read_text(encoding="utf-8")) == {"work": work})
    except (FileNotFoundError, ValueError):
        return False


def _decisive(name: StageName, config: PrepareConfig) -> dict[str, Any]:
    """The settings that decide a stage's output; a model's address and speed do not."""
    settings = getattr(config, name).model_dump(mode="json", exclude={"endpoint"})
    model = None
    if name == "rephrase" or name == "difficulty" or name == "label":
        endpoint = config.endpoint_of(name)
        model = endpoint and endpoint.model
    common = {"seed": config.seed, "refused": config.refused, "model": model}
    return {"stage": name, "settings": settings, **common}
