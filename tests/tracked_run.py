"""A run folder that goes on as told: for tests of what follows it. Its figures are invented."""

import json
from pathlib import Path
from typing import Any

from perl_rl.trackers.base import TrackedRun
from services.trainer.rank.history import keep_until
from services.trainer.rank.metrics import write_metrics
from shared.config import load_config, save_config
from shared.records.evaluations import FIGURES, evaluation_file
from shared.records.steps import METRICS
from tests.group_records import write_run
from tests.paths import ROOT

EPOCH_S = 1_700_000_000.0


class WrittenRun:
    """Writes what a run writes that trackers show.

    Args:
        settings: ``key=value``, as after ``--set``.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config = load_config(ROOT / "configs" / "demo.yaml", list(settings))
        save_config(self.config, folder / "config.yaml")

    def steps(self, first: int, last: int, incarnation: int = 1) -> None:
        """Train these steps, the last one included."""
        for step in range(first, last + 1):
            write_metrics(self.folder / METRICS, self.row(step, incarnation))

    def row(self, step: int, incarnation: int = 1) -> dict[str, Any]:
        """The line of one step."""
        return {
            "step": step,
            "incarnation": incarnation,
            "time": EPOCH_S + 60 * step + incarnation,
            "groups": [f"g{step:08d}"],
            "reward": step / 100 + incarnation,
            "accuracy": step / 100,
            "grad_norm": None,
            "bound_by": "rollout",
            "alarms": ["kl"] if step % 4 == 0 else [],
            "groups_dropped": {"uniform_reward": step},
            "wait_s": 0.5,
            "train_s": 1.0,
            "heldout_step": None,
            "heldout_accuracy": None,
        }

    def evaluation(self, step: int, accuracy: float = 0.5) -> None:
        """Evaluate the policy after `step`."""
        file = evaluation_file(self.folder, step)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({name: {"value": accuracy} for name in FIGURES}))

    def groups(self, steps: int) -> list[dict[str, Any]]:
        """Record the groups of steps 1 to `steps`; their rows."""
        return write_run(self.folder, steps=steps)

    def goes_back_to(self, step: int) -> None:
        """Go on from the checkpoint of `step`: later steps are lost."""
        keep_until(self.folder, step)

    def ends(self) -> None:
        """The run is over."""
        summary = {"outcome": "done", "steps": 12, "wall_s": 60.0, "eval": {}}
        (self.folder / "summary.json").write_text(json.dumps(summary))


def tracked(
    run_dir: Path, name: str, run_id: str = "0123456789abcdef-0", sent: int = 0
) -> TrackedRun:
    """A run as the tracker `name` is given it, offline."""
    folder = run_dir / "trackers" / name
    folder.mkdir(parents=True, exist_ok=True)
    return TrackedRun(
        name="digits",
        id=run_id,
        folder=folder,
        project="tests",
        online=False,
        url=None,
        config={"run": "digits", "trainer": {"steps": 12, "groups_per_step": 4}},
        page="http://here/runs/0",
        sent=sent,
    )
