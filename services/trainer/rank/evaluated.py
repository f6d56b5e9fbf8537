"""The evaluations that have come since the last step, for its line in ``metrics.jsonl``."""

from pathlib import Path

from shared.records.evaluations import FIGURES, evaluation_files, read_evaluation


class NewEvaluations:
    """Looks for evaluations that were not there when it last looked.

    Args:
        run_dir: the run's folder; what it holds now is not new.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._seen = set(evaluation_files(run_dir))

    def new(self) -> dict[str, float | None]:
        """The figures of the newest one, or nothing but None."""
        files = evaluation_files(self._run_dir)
        fresh = files.keys() - self._seen
        self._seen = set(files)
        if not fresh:
            return dict.fromkeys(("heldout_step", *(f"heldout_{name}" for name in FIGURES)))
        evaluation = read_evaluation(files[max(fresh)])
        figures = {f"heldout_{name}": evaluation[name]["value"] for name in FIGURES}
        return {"heldout_step": max(fresh), **figures}
