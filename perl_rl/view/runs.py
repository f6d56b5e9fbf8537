"""The folders of runs that the pages show.

A run may be going on while it is looked at: what is missing or half written becomes a line on the
page and never an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException, Request

from perl_rl.view.index import GroupIndex, Selection
from shared.errors import UserError
from shared.named_folders import run_folder

_MARKS = ("config.yaml", "trainer-config.yaml", "identity.json", "metrics.jsonl", "groups")
"""A run's folder holds one of these soon after it begins."""


@dataclass(frozen=True)
class Run:
    """One run that the pages show."""

    index: int
    """Its place on the command line, from 0: the ``<i>`` of ``/runs/<i>``."""
    folder: Path
    name: str
    """Shown in titles: the folder's name, with as much of its path as tells the runs apart."""

    groups: GroupIndex

    @property
    def path(self) -> str:
        """The address of its first page."""
        return f"/runs/{self.index}"


def open_runs(folders: Sequence[Path], selection: Selection | None = None) -> list[Run]:
    """The runs in these folders.

    Args:
        selection: which of their groups are shown; None: all.

    Raises:
        UserError: when a folder is not there or holds no run.
    """
    for folder in folders:
        _check(folder)
    names = _names([folder.resolve() for folder in folders])
    return [
        Run(index, folder, name, GroupIndex(folder, selection))
        for index, (folder, name) in enumerate(zip(folders, names, strict=True))
    ]


def _check(folder: Path) -> None:
    if not any((run_folder(folder) / mark).exists() for mark in _MARKS):
        raise UserError(f"{folder}: holds no run (none of {', '.join(_MARKS)}); check the folder")


def _names(folders: Sequence[Path]) -> list[str]:
    for parts in range(1, max((len(folder.parts) for folder in folders), default=1) + 1):
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(set(folders)):
            break
    return names


def run_of(request: Request, run: int) -> Run:
    """A route's dependency: the run that ``/runs/{run}`` names.

    Raises:
        HTTPException: 404 when there is none.
    """
    runs: list[Run] = request.app.state.runs
    if not 0 <= run < len(runs):
        raise HTTPException(404, f"There is no run {run}: this page shows {len(runs)}.")
    return runs[run]
