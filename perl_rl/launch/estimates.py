"""What a run will take of disk and time, from the model's parameters and an earlier run's steps."""

import shutil
from itertools import pairwise
from pathlib import Path
from statistics import median

from perl_rl.launch.model_size import ModelSize
from perl_rl.report.progress import duration
from perl_rl.report.summary import Metrics, read_metrics
from shared.config import Config
from shared.errors import UserError
from shared.records.steps import METRICS
from shared.words import amount

_MASTER_AND_MOMENTS = 12
"""Bytes of a trained parameter in a checkpoint: fp32 weight, mean and variance."""
_GB = 1e9


def disk_line(config: Config, size: ModelSize, folder: Path) -> str:
    """The disk that checkpoints and weights take at most, and what is free at `folder`."""
    number = 4 if config.model.dtype == "float32" else 2
    kept = size.parameters if config.model.lora is None else size.adapter
    weights = number * kept
    frozen = size.vision if config.trainer.freeze_vision and config.model.lora is None else 0
    trained = kept - frozen
    checkpoint = weights + _MASTER_AND_MOMENTS * trained
    # A new one is complete before the oldest goes.
    checkpoints = min(_written(config), config.trainer.checkpoint.keep + 1)
    versions = min(config.trainer.steps + 1, config.weights.keep_versions + 1)
    total = checkpoints * checkpoint + (versions + 1) * weights
    free = shutil.disk_usage(folder).free
    line = (
        f"disk: at most {_size(total)} for {amount(checkpoints, 'checkpoint')} of "
        f"{_size(checkpoint)}, "
        f"{amount(versions, 'version')} of the weights\n      and the final model "
        f"({_size(weights)} each); "
        f"{_size(free)} are free in {folder}"
    )
    short = f"\nwarning: {_size(total - free)} are missing there: lower trainer.checkpoint.keep"
    return line + (short if total > free else "")


def _written(config: Config) -> int:
    """Checkpoints that the run writes: every so many steps, and after the last one."""
    return -(-config.trainer.steps // config.trainer.checkpoint.every_steps)


def time_line(config: Config, folder: Path) -> str:
    """How long the steps will take at the rate of an earlier run in `folder`."""
    try:
        rows = read_metrics(folder / METRICS)
        pace = seconds_per_response(rows)
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder / 'metrics.jsonl'}: is not the record of a run; choose another --run-dir"
        ) from None
    if pace is None:
        return (
            f"time: not known before a first run (there is no metrics.jsonl with two steps in "
            f"{folder})"
        )
    step = config.trainer.groups_per_step * (config.permutation.n_s + 1) * config.sampling.n * pace
    return (
        f"time: {duration(step * config.trainer.steps)} for "
        f"{amount(config.trainer.steps, 'step', ',')} of "
        f"{step:.1f} s, at the rate of the run in this folder\n"
        f"      ({amount(len(rows), 'step')}, {1 / pace:.1f} trained responses/s), without start "
        "and "
        "evaluations"
    )


def seconds_per_response(rows: list[Metrics]) -> float | None:
    """Seconds for each response that was trained, median over the steps; None before two steps.

    A step that follows an interruption is no guide: only steps in a row count.
    """
    found = [
        (row["time"] - before["time"]) / row["samples_generated"]
        for before, row in pairwise(rows)
        if row["step"] == before["step"] + 1 and row["time"] > before["time"]
    ]
    return median(found) if found else None


def _size(number: float) -> str:
    if number >= 0.1 * _GB:
        return f"{number / _GB:.1f} GB"
    return f"{number / 1e6:.0f} MB"
