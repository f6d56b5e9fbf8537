"""What a tracker has not sent, and how it is, for people: from the run folder alone."""

from pathlib import Path

from perl_rl.trackers.cursor import cursor_file, read_cursor
from shared.config.trackers import TRACKER_NAMES, TrackerConfig
from shared.errors import UserError
from shared.records.evaluations import evaluation_files
from shared.records.steps import METRICS, read_lines


def left_to_send(run_dir: Path, settings: TrackerConfig) -> str:
    """The steps and evaluations that were not sent, in words; empty when there are none."""
    cursor = read_cursor(cursor_file(run_dir, settings.name))
    last = max((row["step"] for row in read_lines(run_dir / METRICS)), default=0)
    words = []
    if last > cursor.sent:
        words.append(
            f"step {last}" if last == cursor.sent + 1 else f"steps {cursor.sent + 1} to {last}"
        )
    missing = len(evaluation_files(run_dir).keys() - set(cursor.evaluations))
    if missing:
        words.append(f"{missing} evaluation{'s' if missing > 1 else ''}")
    return " and ".join(words)


def tracker_lines(run_dir: Path) -> list[str]:
    """Of each tracker of a run, one line for ``status``."""
    lines = []
    for name in TRACKER_NAMES:
        file = cursor_file(run_dir, name)
        if not file.is_file():
            continue
        try:
            cursor = read_cursor(file)
        except UserError as error:
            lines.append(f"tracker  {name}  {error}")
            continue
        problem = f"; {cursor.problem}" if cursor.problem else ""
        lines.append(f"tracker  {name}  sent up to step {cursor.sent}{problem}")
    return lines
