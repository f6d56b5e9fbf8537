"""The evaluations of a run on its held-out questions: ``evaluations/step-000010.json``.

Whoever watches the run writes them (`perl_rl/report/`); the trainer reads them, to keep the best
checkpoint and to export their figures.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from shared.jsonlines import parse_json
from shared.words import amount

FIGURES = {
    "accuracy": "accuracy",
    "worst_case": "right under every order",
    "flip_rate": "flip rate",
}
"""An evaluation's main figures, with what they are called."""

_FOLDER = "evaluations"
_PREFIX = "step-"


class Asked(BaseModel):
    """What was asked. Only results of evaluations that asked the same are shown side by side."""

    model_config = ConfigDict(frozen=True)

    questions: int
    prompts: int
    """Questions times their orders."""
    orders: int
    """``eval.orders``: the most orders of one question."""
    max_tokens: int
    """``eval.max_tokens``: the longest answer, in tokens."""
    digest: str
    """SHA-256 over every prompt, with its pictures' names and its gold answer."""

    def words(self) -> str:
        """It in words, for messages."""
        return (
            f"{amount(self.questions, 'question')} in up to {amount(self.orders, 'order')}, "
            f"{self.prompts} prompts, "
            f"answers of up to {amount(self.max_tokens, 'token')} (SHA-256 {self.digest[:12]})"
        )


def evaluation_file(run_dir: Path, step: int) -> Path:
    """Where the evaluation of the policy after `step` is; 0: the start model's."""
    return run_dir / _FOLDER / f"{_PREFIX}{step:06d}.json"


def lost_folder(run_dir: Path) -> Path:
    """Where evaluations of steps go that are trained again."""
    return run_dir / _FOLDER / "lost"


def evaluation_files(run_dir: Path) -> dict[int, Path]:
    """The evaluations by step, in their order."""
    files = sorted((run_dir / _FOLDER).glob(f"{_PREFIX}*.json"))
    return {int(file.stem.removeprefix(_PREFIX)): file for file in files}


def read_evaluation(file: Path) -> dict[str, Any]:
    """One evaluation: an `OrderRobustness` as JSON, with ``asked`` (`Asked`) and ``versions``, the
    first and the last policy version that answered."""
    content: dict[str, Any] = parse_json(file.read_text(encoding="utf-8"))
    return content


def best_step(run_dir: Path, among: Iterable[int]) -> int | None:
    """The step with the highest held-out accuracy, of those in `among`; the later of equal ones."""
    candidates = set(among)
    found = {
        step: read_evaluation(file)["accuracy"]["value"]
        for step, file in evaluation_files(run_dir).items()
        if step in candidates
    }
    return max(found, key=lambda step: (found[step], step), default=None)


def figures_line(evaluation: dict[str, Any]) -> str:
    """One evaluation's main figures and who answered, in words."""
    figures = [f"{label} {evaluation[name]['value']:.3f}" for name, label in FIGURES.items()]
    versions = evaluation.get("versions") or ()
    by = f" ({'versions' if len(versions) > 1 else 'version'} {' to '.join(versions)})"
    return ", ".join(figures) + (by if versions else "")
