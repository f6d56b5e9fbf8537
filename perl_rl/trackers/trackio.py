"""Trackio: a database in ``RUN/trackers/trackio``, or a server or Space of yours.

On this machine a process that goes on deletes the run, and writes everything again: what the one
before had in memory may be lost. Elsewhere it goes on after the last step that was sent.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from perl_rl.trackers.base import TABLE_COLUMNS, ShownGroup, TrackedRun


class Adapter:
    """Logs to one Trackio run; see `Tracker`."""

    def start(self, run: TrackedRun) -> int:
        """Begin, or go on."""
        # Read when the library is imported.
        os.environ["TRACKIO_DIR"] = str(run.folder)
        if not run.online:
            for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
                os.environ.pop(name, None)
        import trackio

        self._trackio = trackio
        name = f"{run.name} {run.id[:8]}" if run.online else run.name
        if not run.online:
            _delete(trackio.Api(), run.project, name)
        place: dict[str, str] = {}
        if run.url is not None:
            place = {"server_url" if "://" in run.url else "space_id": run.url}
        self._run = trackio.init(
            run.project,
            name=name,
            group=run.id.partition("-")[0],
            config={**run.config, "page": run.page},
            resume="allow" if run.online else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
            **place,
        )
        return run.sent if run.online else 0

    def log_step(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Log a row."""
        self._run.log(dict(figures), step=step)

    def log_evaluation(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Log a row at the step that was evaluated."""
        self._run.log(dict(figures), step=step)

    def log_groups(self, step: int, groups: Sequence[ShownGroup]) -> None:
        """Log a table with the pictures in its cells."""
        most = max(len(group.pictures) for group in groups)
        rows = [self._row(group, most) for group in groups]
        table = self._trackio.Table(dataframe=pd.DataFrame(rows))
        self._run.log({"groups": table}, step=step)

    def _row(self, group: ShownGroup, most: int) -> dict[str, Any]:
        row: dict[str, Any] = dict(zip(TABLE_COLUMNS, group.cells, strict=True))
        shown = [self._trackio.Image(picture) for picture in group.pictures]
        shown += [None] * (most - len(shown))
        row |= {f"picture {number + 1}": picture for number, picture in enumerate(shown)}
        return {**row, "page": group.page}

    def flush(self) -> None:
        """Nothing: Trackio writes twice a second; see above for what a kill leaves."""

    def finish(self) -> None:
        """Write the rest."""
        self._run.finish()


def _delete(api: Any, project: str, name: str) -> None:
    try:
        runs = list(api.runs(project))
    except ValueError:
        # There is no such project yet.
        return
    for one in runs:
        if one.name == name:
            one.delete()
