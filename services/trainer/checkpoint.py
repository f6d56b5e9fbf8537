"""Checkpoints: the engine's state, the step, the ledger and random state, complete or not at all.

A checkpoint is written into an unfinished folder and renamed when every rank is done, so a kill
during writing leaves the previous one in place.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UserError

_STATE_FILE = "state.json"
_PREFIX = "step-"
_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class CheckpointState:
    """What a checkpoint holds beside the engine's own files."""

    incarnation: int
    step: int
    settled: dict[str, str]
    """The ledger's settled groups at this step (see ``Ledger.settled``)."""


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self._keep = keep

    def begin(self) -> Path:
        """An empty folder to write the next checkpoint into."""
        unfinished = self.folder / _UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        return unfinished

    def unfinished(self) -> Path:
        """The folder that `begin` made, for the ranks that did not call it."""
        return self.folder / _UNFINISHED

    def commit(self, state: CheckpointState) -> Path:
        """Name the checkpoint after its step and delete those beyond the retention rule."""
        unfinished = self.unfinished()
        (unfinished / _STATE_FILE).write_text(json.dumps(vars(state)))
        final = self.folder / f"{_PREFIX}{state.step:06d}"
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)
        for old in self._complete()[: -self._keep]:
            shutil.rmtree(old)
        return final

    def latest(self) -> tuple[Path, CheckpointState] | None:
        """The newest complete checkpoint; None when there is none.

        Raises:
            UserError: when its state file cannot be read.
        """
        complete = self._complete()
        if not complete:
            return None
        file = complete[-1] / _STATE_FILE
        try:
            return complete[-1], CheckpointState(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{file}: cannot be read ({error}); delete {complete[-1].name} to resume from the "
                "checkpoint before it"
            ) from None

    def _complete(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_PREFIX}*")) if self.folder.is_dir() else []
