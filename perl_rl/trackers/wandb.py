"""Weights & Biases. Offline it writes ``RUN/trackers/wandb``, which ``wandb sync`` sends later.

Online, a process that goes on resumes the run by its id, and the server says which step it holds.
Offline no run can be resumed: what the process before has written is removed, and everything is
written again, so that there is one whole run.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from perl_rl.trackers.base import TABLE_COLUMNS, ShownGroup, TrackedRun

_STEP = "step"
"""wandb's own step only rises; evaluations are of steps before, so each has a step of its own."""


class Adapter:
    """Logs to one wandb run; see `Tracker`."""

    def start(self, run: TrackedRun) -> int:
        """Begin, or resume."""
        if not run.online:
            # The pictures of tables wait here to be sent; by default, in the user's home.
            data = run.folder / "data" / run.id
            os.environ["WANDB_DATA_DIR"] = str(data)
            # wandb makes ``offline-run-<time>-<id>`` in a folder with its own name.
            for folder in (data, *(run.folder / "wandb").glob(f"offline-run-*-{run.id}")):
                shutil.rmtree(folder, ignore_errors=True)
            data.mkdir(parents=True)
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True
        )
        if run.url is not None:
            settings.base_url = run.url
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=run.id,
            notes=run.page,
            group=run.id.partition("-")[0],
            dir=run.folder,
            config=run.config,
            mode="online" if run.online else "offline",
            resume="allow" if run.online else None,
            settings=settings,
        )
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)
        for part in ("heldout", "groups"):
            self._run.define_metric(f"{part}/{_STEP}")
            self._run.define_metric(f"{part}/*", step_metric=f"{part}/{_STEP}")
        return int(self._run.summary.get(_STEP, 0)) if run.online else 0

    def log_step(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Log a row."""
        self._run.log({_STEP: step, **figures})

    def log_evaluation(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Log a row of its own."""
        self._run.log({f"heldout/{_STEP}": step, **figures})

    def log_groups(self, step: int, groups: Sequence[ShownGroup]) -> None:
        """Log a table with the pictures in its cells."""
        most = max(len(group.pictures) for group in groups)
        pictures = [f"picture {number + 1}" for number in range(most)]
        table = wandb.Table(columns=[*TABLE_COLUMNS, *pictures, "page"])
        for group in groups:
            shown: list[Any] = [wandb.Image(picture) for picture in group.pictures]
            shown += [None] * (most - len(shown))
            table.add_data(*group.cells, *shown, group.page)
        self._run.log({f"groups/{_STEP}": step, "groups/table": table})

    def flush(self) -> None:
        """Nothing: rows are handed to wandb's own process at once; a process that begins asks the
        server, or writes everything again."""

    def finish(self) -> None:
        """Wait until everything is sent."""
        self._run.finish()
