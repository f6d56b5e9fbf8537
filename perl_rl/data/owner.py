"""Whose folder it is: one stage must not write over the results of another, nor over its input."""

import json
from pathlib import Path
from typing import Any

from perl_rl.data.files import SAMPLES_FILE
from shared.errors import UserError

REPORT_FILE, JOURNAL_FILE = "report.json", "journal.jsonl"
PREPARE = "prepare"
"""The command that runs all stages, in the place of a stage's name."""


def check_owner(folder: Path, stage: str, named: str) -> None:
    """Refuse a folder that holds the results of another stage than `stage`.

    Args:
        named: where the folder's name comes from, such as ``--out``.

    Raises:
        UserError: naming both stages.
    """
    owner = _owner(folder)
    if owner is not None and owner != stage:
        raise UserError(
            f"{named} {folder}: holds the results of {_called(owner)}, and {_called(stage)} would "
            "write over them; name another folder"
        )


def check_input(file: Path, folder: Path) -> None:
    """Refuse to write a stage's samples over those that it reads.

    Raises:
        UserError: when `file` is where the stage in `folder` writes.
    """
    if file.resolve() == (folder / SAMPLES_FILE).resolve():
        raise UserError(
            f"--out {folder}: the stage would write over its input {file}; name another folder"
        )


def _called(owner: str) -> str:
    return "perl-rl data prepare" if owner == PREPARE else f"stage {owner}"


def _owner(folder: Path) -> str | None:
    """The stage that has worked in a folder, also one that is half done; None for a new folder."""
    report = _first_value(folder / REPORT_FILE, whole=True)
    if isinstance(report, list):
        return PREPARE
    if isinstance(report, dict) and isinstance(report.get("stage"), str):
        return str(report["stage"])
    head = _first_value(folder / JOURNAL_FILE, whole=False)
    work = head.get("work") if isinstance(head, dict) else None
    return work.get("stage") if isinstance(work, dict) else None


def _first_value(file: Path, whole: bool) -> Any:
    """The JSON value of a file, or of its first line; None when there is none."""
    try:
        with file.open(encoding="utf-8") as stream:
            return json.loads(stream.read() if whole else stream.readline())
    except (OSError, ValueError):
        return None
