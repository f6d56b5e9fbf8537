"""How long runs took to start, in a file beside their folders: the next launch says it."""

import json
import logging
from pathlib import Path

from perl_rl.report.summary import write_json

logger = logging.getLogger(__name__)

FILE = ".start-times.json"


def last_start_s(folder: Path, run: str) -> float | None:
    """Seconds that the last launch of `run` took to start; None when nothing is known.

    Args:
        folder: the run's; the file lies in its parent.
    """
    try:
        seconds = json.loads((folder.parent / FILE).read_text(encoding="utf-8"))[run]
        return float(seconds)
    except (OSError, ValueError, LookupError, TypeError):
        return None  # It is only a hint: a damaged file is as good as none.


def keep_start_s(folder: Path, run: str, seconds: float) -> None:
    """Remember it for `last_start_s`."""
    file = folder.parent / FILE
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        write_json(file, {**known, run: round(seconds, 1)})
    except (OSError, ValueError, TypeError) as error:
        logger.info("%s: not kept: %s", file, error)
