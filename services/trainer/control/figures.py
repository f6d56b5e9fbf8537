"""The last step's figures in Prometheus: a gauge for each number in ``metrics.jsonl``."""

import math
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, Gauge

from shared.records.evaluations import FIGURES, evaluation_files, read_evaluation
from shared.records.steps import Alarm, StepRecord, last_record

_NOT_FIGURES = {
    *("step", "time", "guard_alarms", "refused_updates", "heldout_step"),
    *(f"heldout_{name}" for name in FIGURES),
}
"""Exported elsewhere, or known to Prometheus anyway."""


class StepFigures:
    """Gauges ``perl_step_<field>``; NaN before the first step, and for a figure that is null.

    Args:
        file: the run's ``metrics.jsonl``.
    """

    def __init__(self, registry: CollectorRegistry, file: Path) -> None:
        self._file = file
        self._gauges = {
            name: Gauge(f"perl_step_{name}", _first_sentence(field.description), registry=registry)
            for name, field in StepRecord.model_fields.items()
            if name not in _NOT_FIGURES and _is_number(field.annotation)
        }
        for gauge in self._gauges.values():
            gauge.set(math.nan)
        self._alarms = Gauge(
            "perl_step_alarm", "1: the step is an alarm of trainer.guard", ["of"], registry=registry
        )
        self._show_alarms([])

    def refresh(self) -> None:
        """Read the last step's figures."""
        record = last_record(self._file)
        if record is None:
            return
        for name, gauge in self._gauges.items():
            value = getattr(record, name)
            gauge.set(math.nan if value is None else value)
        self._show_alarms(record.alarms)

    def _show_alarms(self, raised: list[Alarm]) -> None:
        for name in get_args(Alarm):
            self._alarms.labels(name).set(name in raised)


class HeldOutGauges:
    """Gauges ``perl_heldout_step`` and ``perl_heldout_<figure>`` of the last evaluation.

    Args:
        run_dir: the run's folder, with ``evaluations/``.
    """

    def __init__(self, registry: CollectorRegistry, run_dir: Path) -> None:
        self._run_dir = run_dir
        text = "Step whose policy was evaluated last on the held-out questions"
        self._step = Gauge("perl_heldout_step", text, registry=registry)
        self._figures = {
            name: Gauge(f"perl_heldout_{name}", f"{label} of that policy", registry=registry)
            for name, label in FIGURES.items()
        }
        for gauge in (self._step, *self._figures.values()):
            gauge.set(math.nan)

    def refresh(self) -> None:
        """Read the last evaluation."""
        files = evaluation_files(self._run_dir)
        if not files:
            return
        step, file = max(files.items())
        evaluation = read_evaluation(file)
        self._step.set(step)
        for name, gauge in self._figures.items():
            gauge.set(evaluation[name]["value"])


def _is_number(kind: object) -> bool:
    return kind in (int, float) or kind == float | None


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").replace("``", "").split()).partition(". ")[0].rstrip(".")
