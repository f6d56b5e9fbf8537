"""SwanLab. Offline it writes ``RUN/trackers/swanlab``, which ``swanlab sync`` sends later.

Online, a process that goes on resumes the run by its id. Offline no run can be resumed: what the
process before has written is removed, and everything is written again.
"""

import shutil
from collections.abc import Mapping, Sequence

import swanlab

from perl_rl.trackers.base import TABLE_COLUMNS, ShownGroup, TrackedRun


class Adapter:
    """Logs to one SwanLab run; see `Tracker`."""

    def start(self, run: TrackedRun) -> int:
        """Begin, or resume."""
        if run.url is not None:
            swanlab.merge_settings(swanlab.Settings(api_host=run.url))
        folder = run.folder / run.id
        if not run.online and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        swanlab.init(
            mode="online" if run.online else "offline",
            project=run.project,
            name=run.name,
            description=run.page,
            group=run.id.partition("-")[0],
            log_dir=str(folder),
            config=run.config,
            id=run.id.replace("-", "") if run.online else None,
            resume="allow" if run.online else None,
        )
        return run.sent if run.online else 0

    def log_step(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Log the figures."""
        swanlab.log(dict(figures), step=step)

    def log_evaluation(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Log the figures at the step that was evaluated."""
        swanlab.log(dict(figures), step=step)

    def log_groups(self, step: int, groups: Sequence[ShownGroup]) -> None:
        """Log each group's pictures with a caption, and all groups as text."""
        images = [
            swanlab.Image(picture, caption=f"{group.caption()}; {group.page}")
            for group in groups
            for picture in group.pictures
        ]
        shown = {"groups/table": swanlab.Text(_text(groups))}
        swanlab.log(shown | ({"groups/pictures": images} if images else {}), step=step)

    def flush(self) -> None:
        """Nothing: SwanLab has no such call."""

    def finish(self) -> None:
        """Wait until everything is sent."""
        swanlab.finish()


def _text(groups: Sequence[ShownGroup]) -> str:
    blocks = []
    for group in groups:
        lines = [f"{name}: {cell}" for name, cell in zip(TABLE_COLUMNS, group.cells, strict=True)]
        blocks.append("\n".join([*lines, f"page: {group.page}"]))
    return "\n\n".join(blocks)
