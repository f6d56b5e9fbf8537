"""The checkpoint folders of a run: written completely or not at all, and checked by digest.

Ranks write into an unfinished folder, which is renamed when all are done: a kill during writing
leaves the previous checkpoint in place. Before the rename the files are synced to the disk and
their digests stored beside them; ``sha256sum -c SHA256SUMS`` checks them by hand.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import UserError
from shared.files import sync_to_disk

ENGINE_TAG = "engine"
"""What DeepSpeed calls its part of a checkpoint."""

_STATE_FILE = "state.json"
_DIGESTS = "SHA256SUMS"
_PREFIX = "step-"
_UNFINISHED = ".unfinished"
_REPLACED = ".replaced"
_DAMAGED = "damaged-"


@dataclass(frozen=True)
class CheckpointState:
    """What a checkpoint holds beside the engine's own files."""

    incarnation: int
    step: int
    settled: dict[str, str]
    """The ledger's settled groups at this step (see ``Ledger.settled``)."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """The verdicts that were known at this step (see ``Ledger.verdicts``), those on groups in
    flight included. A checkpoint of an earlier release has none."""
    skipped: dict[str, int] = field(default_factory=dict)
    """How many groups were skipped until this step, by reason (see ``Counts.skipped``)."""


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
        """The folder that rank 0 made with `begin`, for the other ranks."""
        return self.folder / _UNFINISHED

    def room_missing(self, estimate: int) -> int:
        """How many bytes of disk are missing for one more checkpoint; 0 when there is room.

        Args:
            estimate: its size in bytes, used until there is an earlier checkpoint to measure.
        """
        complete = self._complete()
        needed = sum(file.stat().st_size for file in _files(complete[-1])) if complete else estimate
        self.folder.mkdir(parents=True, exist_ok=True)
        return max(0, needed + needed // 20 - shutil.disk_usage(self.folder).free)

    def commit(self, state: CheckpointState, spared: Collection[int] = ()) -> Path:
        """Name the checkpoint after its step; delete those beyond ``trainer.checkpoint.keep``.

        Args:
            spared: steps whose checkpoints are kept, however old.
        """
        unfinished, replaced = self.unfinished(), self.folder / _REPLACED
        (unfinished / _STATE_FILE).write_text(json.dumps(vars(state)))
        _seal(unfinished)
        final = self.folder / f"{_PREFIX}{state.step:06d}"
        shutil.rmtree(replaced, ignore_errors=True)
        if final.exists():
            final.rename(replaced)
        unfinished.rename(final)
        sync_to_disk(self.folder)
        shutil.rmtree(replaced, ignore_errors=True)
        for step in self.steps()[: -self._keep]:
            if step not in spared:
                shutil.rmtree(self.of_step(step))
        return final

    def set_damaged_aside(self) -> list[str]:
        """Check checkpoints against their digests, newest first, and rename the damaged ones.

        Stops at the first sound one. Returns one line for each damaged checkpoint.

        Raises:
            UserError: when there are checkpoints and none is sound.
        """
        found = self._complete()
        damages: list[str] = []
        for folder in reversed(found):
            damage = _damage(folder)
            if damage is None:
                return damages
            aside = folder.with_name(f"{_DAMAGED}{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            damages.append(f"{folder}: {damage}; renamed to {aside.name}")
        if found:
            raise UserError(
                f"{'; '.join(damages)}; no sound checkpoint is left: restore one, or delete "
                f"{self.folder} to start from step 0"
            )
        return damages

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

    def of_step(self, step: int) -> Path:
        """The folder of the checkpoint that rank 0 resumes from, on this rank's host.

        Raises:
            UserError: when this host has no such folder.
        """
        folder = self.folder / f"{_PREFIX}{step:06d}"
        if not folder.is_dir():
            raise UserError(
                f"{folder}: rank 0 resumes from it, but it is not on this host; --run-dir must be "
                "one folder, shared by all hosts"
            )
        return folder

    def newest_step(self) -> int:
        """The step of the newest complete checkpoint, by its name; 0 when there is none."""
        return max(self.steps(), default=0)

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, by their names, the oldest first."""
        return [int(folder.name.removeprefix(_PREFIX)) for folder in self._complete()]

    def damage(self, step: int) -> str | None:
        """What is wrong with the checkpoint of `step`; None when every file matches its digest."""
        return _damage(self.of_step(step))

    def _complete(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_PREFIX}*")) if self.folder.is_dir() else []


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _DIGESTS)


def _seal(folder: Path) -> None:
    """Write the digests, and sync everything to the disk."""
    files = _files(folder)
    # Hashing releases the GIL, and a large model's checkpoint keeps all cores busy.
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_digest_on_disk, files))
    lines = [
        f"{digest}  {file.relative_to(folder)}\n"
        for digest, file in zip(digests, files, strict=True)
    ]
    (folder / _DIGESTS).write_text("".join(lines))
    sync_to_disk(folder / _DIGESTS)
    for path in {folder, *(file.parent for file in files)}:
        sync_to_disk(path)


def _digest_on_disk(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    return digest


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None when every file matches its digest."""
    try:
        lines = (folder / _DIGESTS).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return f"{_DIGESTS} cannot be read ({error})"
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    missing = sorted(name for name in expected if not (folder / name).is_file())
    if missing or _STATE_FILE not in expected:
        return f"{(missing or [_STATE_FILE])[0]} is missing"
    with ThreadPoolExecutor() as pool:
        digests = pool.map(_digest, [folder / name for name in expected])
    for (name, wanted), found in zip(expected.items(), digests, strict=True):
        if found != wanted:
            return f"{name} does not match its SHA-256"
    return None
