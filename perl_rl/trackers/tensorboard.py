"""TensorBoard: event files in ``RUN/trackers/tensorboard``.

A process that goes on after another tells TensorBoard to forget what was written of later steps
(``purge_step``), so each step is there once.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import yaml
from torch.utils.tensorboard import SummaryWriter

from perl_rl.trackers.base import TABLE_COLUMNS, ShownGroup, TrackedRun


class Adapter:
    """Writes event files; see `Tracker`."""

    def start(self, run: TrackedRun) -> int:
        """Begin a new file."""
        self._writer = SummaryWriter(str(run.folder), purge_step=run.sent + 1)
        if not run.sent:
            config = yaml.safe_dump(run.config, sort_keys=False)
            self._writer.add_text("run/config", _code(config), 0)
            self._writer.add_text("run/page", run.page, 0)
            self._writer.flush()
        return run.sent

    def log_step(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step, time_s)

    def log_evaluation(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Add scalars."""
        self.log_step(step, time_s, figures)

    def log_groups(self, step: int, groups: Sequence[ShownGroup]) -> None:
        """Add the table as text, and the pictures of each group as one image beside each other."""
        self._writer.add_text("groups/table", _markdown(groups), step)
        for place, group in enumerate(groups):
            if group.pictures:
                self._writer.add_image(f"groups/{place}", _beside(group), step, dataformats="HWC")

    def flush(self) -> None:
        """Write what is in memory."""
        self._writer.flush()

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()


def _code(text: str) -> str:
    """Markdown of text as it is."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def _markdown(groups: Sequence[ShownGroup]) -> str:
    header = ("pictures", *TABLE_COLUMNS, "page")
    lines = [_line(header), _line(["---"] * len(header))]
    for place, group in enumerate(groups):
        lines.append(_line([f"groups/{place}", *map(_cell, group.cells), group.page]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else f"{value:.3f}"
    for character, shown in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("\n", " ")):
        text = text.replace(character, shown)
    return text


def _beside(group: ShownGroup) -> np.ndarray:
    """The pictures in one, uint8 ``(height, width, 3)``, with a white line between them."""
    high = max(picture.height for picture in group.pictures)
    columns = []
    for picture in group.pictures:
        column = np.full((high, picture.width + 4, 3), 255, np.uint8)
        column[: picture.height, : picture.width] = np.asarray(picture)
        columns.append(column)
    return np.concatenate(columns, axis=1)
