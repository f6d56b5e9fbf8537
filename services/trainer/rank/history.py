"""What a run has written about steps that are lost is set aside when it goes on from a checkpoint.

``metrics.jsonl`` and ``evaluations/`` then tell of the surviving history only, each step once.
"""

import json
import logging
from pathlib import Path
from typing import Any

from shared.files import write_durably
from shared.records.evaluations import evaluation_files, lost_folder
from shared.records.steps import LOST_METRICS, METRICS, read_lines

logger = logging.getLogger(__name__)


def keep_until(run_dir: Path, step: int) -> None:
    """Set aside what tells of steps after `step`, from which the run goes on.

    A kill in between loses nothing, and repeating it sets nothing aside twice.
    """
    _keep_metrics_until(run_dir, step)
    for evaluated, file in evaluation_files(run_dir).items():
        if evaluated > step:
            lost_folder(run_dir).mkdir(exist_ok=True)
            file.replace(lost_folder(run_dir) / file.name)


def _keep_metrics_until(run_dir: Path, step: int) -> None:
    file = run_dir / METRICS
    rows = read_lines(file)
    # A run of an older version of this software may hold a step twice: its last line counts.
    places = {row["step"]: place for place, row in enumerate(rows) if row["step"] <= step}
    kept = [rows[place] for place in sorted(places.values())]
    lost = [row for place, row in enumerate(rows) if place != places.get(row["step"])]
    if not lost:
        return
    _add_lost(run_dir / LOST_METRICS, lost)
    write_durably(file, _text(kept))
    logger.info(
        "%s: %d lines of the history that is lost moved to %s", file, len(lost), LOST_METRICS
    )


def _add_lost(file: Path, rows: list[dict[str, Any]]) -> None:
    """Add the lines that `file` does not hold yet."""
    held = read_lines(file)
    write_durably(file, _text([*held, *(row for row in rows if row not in held)]))


def _text(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
