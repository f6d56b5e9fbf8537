"""What a run has left in its folder: how it ended, how far it came, and how to resume it."""

import json
from pathlib import Path
from typing import Any

from perl_rl.folder_lock import is_held
from perl_rl.report.summary import DONE, Metrics, read_metrics
from services.trainer.rank.checkpoint_folder import CheckpointFolder
from shared.config import Config
from shared.errors import UserError
from shared.records.evaluations import (
    best_step,
    evaluation_files,
    figures_line,
    read_evaluation,
)
from shared.records.steps import METRICS, is_after
from shared.weights.manifest import ADAPTER_SETTINGS
from shared.words import amount

_FIGURES = ("reward", "accuracy_all", "kl")
_EVALUATED = (
    ("accuracy", "accuracy"),
    ("worst_case", "right under every order"),
    ("flip_rate", "flip rate"),
)


def describe_left(folder: Path, config: Config) -> str:
    """The run in `folder` in words, one fact a line, without its Redis.

    Raises:
        UserError: when its summary cannot be read.
    """
    summary, metrics = _summary(folder), read_metrics(folder / METRICS)
    step, steps = (metrics[-1]["step"] if metrics else 0), config.trainer.steps
    saved = CheckpointFolder(folder / "checkpoints", keep=1).steps()
    newest = max(saved, default=0)
    lines = [f"run      {config.run}", f"now      {_now(folder, summary, step, steps)}"]
    lines += [f"last     {_last(metrics[-1])}"] if metrics else []
    lines += [f"saved    checkpoint of step {newest}"] if saved else []
    if any((folder / "policy" / name).is_file() for name in ("config.json", ADAPTER_SETTINGS)):
        lines.append(f"policy   {folder / 'policy'}")
    lines += _evaluation(summary) or _last_evaluation(folder)
    best = best_step(folder, saved)
    if best is not None:
        lines.append(f"best     checkpoint of step {best}, by held-out accuracy")
    if summary is None or summary["outcome"] != DONE:
        lines.append(
            f"resume   perl-rl launch CONFIG --resume --run-dir {folder}  (continues at step "
            f"{newest + 1})"
        )
    return "\n".join(lines)


def _summary(folder: Path) -> dict[str, Any] | None:
    """The run's summary; None when it wrote none, or went on after it was done.

    An interrupted launch writes it before the trainer has written the step in hand.
    """
    file = folder / "summary.json"
    if not file.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); delete it") from None
    went_on = content["outcome"] == DONE and not is_after(file, folder / METRICS)
    return None if went_on else content


def _now(folder: Path, summary: dict[str, Any] | None, step: int, steps: int) -> str:
    if is_held(folder):
        return "perl-rl launch is running, but its Redis does not answer: it is starting or ending"
    at = f"at step {step} of {steps}"
    if summary is None:
        return f"not running; it ended without a summary, {at}; see {folder / 'logs'}"
    outcome = str(summary["outcome"])
    if outcome == DONE:
        return f"done, {amount(summary['steps'], 'step')} in {summary['wall_s']:.0f} s"
    return f"{outcome} {at}" if outcome == "interrupted" else f"{outcome} ({at})"


def _last(row: Metrics) -> str:
    figures = [f"{name} {row[name]:.3f}" for name in _FIGURES if row.get(name) is not None]
    return "  ".join([f"step {row['step']}", *figures])


def _last_evaluation(folder: Path) -> list[str]:
    """Of a run that has no evaluation after training."""
    files = evaluation_files(folder)
    if not files:
        return []
    step, file = max(files.items())
    return [f"eval     step {step}: {figures_line(read_evaluation(file))}"]


def _evaluation(summary: dict[str, Any] | None) -> list[str]:
    results = {} if summary is None else {k: v for k, v in summary["eval"].items() if v}
    return [
        f"eval     {label}: " + ", ".join(f"{when} {one[key]:.3f}" for when, one in results.items())
        for key, label in _EVALUATED
        if results and all(one.get(key) is not None for one in results.values())
    ]
