"""What a study found: ``results.json``, made from the folders of its runs.

Small enough to be kept with the text that quotes it.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from perl_rl.eval.heldout import HeldOutResult
from perl_rl.report.summary import DONE, read_metrics
from perl_rl.study.runs import Failures, outcome_of, run_folder
from perl_rl.study.spec import Study
from shared.config import Config, load_config
from shared.errors import UserError
from shared.files import write_atomically
from shared.records.evaluations import evaluation_files
from shared.records.steps import METRICS

RESULTS = "results.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Point(_Record):
    """One evaluation of a run on its held-out questions."""

    step: int
    responses: int
    """Sampled so far, those of dropped groups included."""
    trained_groups: int
    accuracy: float
    """Over all orders."""
    worst_case: float
    """Right under every order."""
    flip_rate: float
    by_slot: dict[int, float]
    """Accuracy by the slot of the gold image, from 0."""


class Item(_Record):
    """A held-out question after training."""

    accuracy: float
    """Share of its orders that were answered right."""
    flips: bool


class RunResult(_Record):
    """One run: an arm with a seed."""

    arm: str
    seed: int
    settings: str
    """`Study.digest` of it."""
    outcome: str
    """``done``, or why it is not."""
    wall_s: float = 0.0
    steps: int = 0
    responses: int = 0
    trained: int = 0
    """Groups."""
    dropped: dict[str, int] = {}
    """Groups, by reason."""
    skipped: int = 0
    """Questions that were not asked, because their last groups carried no signal."""
    points: list[Point] = []
    """In the order of steps; the first one is the start model."""
    items: dict[str, Item] = {}
    """By the question's id."""

    @property
    def done(self) -> bool:
        """Whether it can be compared."""
        return self.outcome == DONE

    @model_validator(mode="after")
    def _is_evaluated(self) -> "RunResult":
        if self.done and not (self.points and self.items):
            raise ValueError("a run that is done has evaluations and answered questions")
        return self


class StudyResults(_Record):
    """All runs of a study."""

    name: str
    title: str
    baseline: str
    responses: int
    arms: dict[str, str]
    """Titles by name."""
    machine: dict[str, str] = {}
    """Facts about the machine that ran it."""
    runs: list[RunResult]

    def of(self, arm: str) -> dict[int, RunResult]:
        """The runs of an arm that are done, by seed."""
        return {run.seed: run for run in self.runs if run.arm == arm and run.done}


def earlier_results(study: Study, folder: Path) -> dict[tuple[str, int], RunResult]:
    """The runs that ``results.json`` has with the study's settings of now, by arm and seed.

    Their folders may be gone: a study goes on, on this machine or on another one, from that file.

    Raises:
        UserError: when the file cannot be read, or is another study's.
    """
    file = folder / RESULTS
    if not file.is_file():
        return {}
    try:
        found = StudyResults.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        raise UserError(f"{file}: is no result of a study; move it away") from None
    if found.name != study.name:
        raise UserError(
            f"{file}: holds the results of study '{found.name}', which '{study.name}' would "
            "replace; choose another --dir"
        )
    wanted = {run: study.digest(*run) for run in study.runs()}
    return {
        (run.arm, run.seed): run
        for run in found.runs
        if run.done and wanted.get((run.arm, run.seed)) == run.settings
    }


def collect(
    study: Study, folder: Path, failures: Failures, machine: dict[str, str]
) -> StudyResults:
    """Read what the runs have left in the study's folder; for a run without a folder, what
    ``results.json`` has."""
    earlier = earlier_results(study, folder)
    runs = [
        _result(study, folder, arm, seed, failures.get((arm, seed)), earlier.get((arm, seed)))
        for arm, seed in study.runs()
    ]
    return StudyResults(
        name=study.name,
        title=study.title,
        baseline=study.baseline,
        responses=study.responses,
        arms={name: arm.title for name, arm in study.arms.items()},
        machine=machine,
        runs=runs,
    )


def write_results(folder: Path, results: StudyResults) -> Path:
    """Write ``results.json``; returns where it is."""
    text = json.dumps(results.model_dump(mode="json"), separators=(",", ":"))
    # A run a line, so that a change of one run is a change of one line.
    write_atomically(folder / RESULTS, text.replace('{"arm":', '\n{"arm":') + "\n")
    return folder / RESULTS


def _result(
    study: Study,
    folder: Path,
    arm: str,
    seed: int,
    failure: str | None,
    earlier: RunResult | None,
) -> RunResult:
    run, settings = run_folder(folder, arm, seed), study.digest(arm, seed)
    outcome = failure or outcome_of(run) or "not run yet"
    if outcome != DONE:
        return earlier or RunResult(arm=arm, seed=seed, settings=settings, outcome=outcome)
    try:
        return _done_run(run, arm, seed, settings)
    except (OSError, LookupError, TypeError, AttributeError, ValueError):
        raise UserError(
            f"{run}: is done, but its summary, metrics or evaluations cannot be read; move it away "
            "to run it again"
        ) from None


def _done_run(run: Path, arm: str, seed: int, settings: str) -> RunResult:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    after = _evaluation(run / "eval-after.json")
    return RunResult(
        arm=arm,
        seed=seed,
        settings=settings,
        outcome=DONE,
        wall_s=round(summary["wall_s"], 1),
        steps=summary["steps"],
        responses=summary["responses"],
        trained=summary["groups"]["trained"],
        dropped=summary["groups"]["dropped"],
        skipped=sum(summary["groups"]["skipped"].values()),
        points=_points(run, load_config(run / "config.yaml")),
        items={
            name: Item(accuracy=round(sum(one.right) / len(one.right), 4), flips=one.flips)
            for name, one in after.by_item.items()
        },
    )


def _points(run: Path, config: Config) -> list[Point]:
    trained, responses = {0: 0}, {0: 0}
    for row in read_metrics(run / METRICS):
        step, size = row["step"], config.group_size()
        trained[step] = trained[step - 1] + len(row["groups"])
        responses[step] = size * (trained[step] + sum(row["groups_dropped"].values()))
    return [
        _point(step, responses[step], trained[step], _evaluation(file))
        for step, file in evaluation_files(run).items()
        if step in responses
    ]


def _point(step: int, responses: int, trained: int, found: HeldOutResult) -> Point:
    return Point(
        step=step,
        responses=responses,
        trained_groups=trained,
        accuracy=round(found.accuracy.value, 4),
        worst_case=round(found.worst_case.value, 4),
        flip_rate=round(found.flip_rate.value, 4),
        by_slot={slot: round(value, 4) for slot, value in found.accuracy_by_slot.items()},
    )


def _evaluation(file: Path) -> HeldOutResult:
    return HeldOutResult.model_validate_json(file.read_text(encoding="utf-8"))
