"""A lock on a folder: one process at a time works in it."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shared.errors import UserError
from shared.files import make_folder

_LOOKED_AT_S = 2.0
"""Longer than `is_held` looks."""
_TRY_AGAIN_S = 0.02


@contextmanager
def hold_folder(
    folder: Path, busy: str = "another process works in this folder; wait for it or name another"
) -> Iterator[None]:
    """Hold `folder`, made if missing, until the block ends or this process dies.

    Args:
        busy: what to say, after the folder's name, when another process holds it.

    Raises:
        UserError: when another process holds it.
    """
    make_folder(folder, "the folder")
    with (folder / ".lock").open("w") as lock:
        deadline = time.monotonic() + _LOOKED_AT_S
        while not _locks(lock, fcntl.LOCK_EX):
            # Whoever only looks holds it shared, for a moment; so does this, to tell.
            if not _locks(lock, fcntl.LOCK_SH) or time.monotonic() > deadline:
                raise UserError(f"{folder}: {busy}")
            fcntl.flock(lock, fcntl.LOCK_UN)
            time.sleep(_TRY_AGAIN_S)
        yield


def is_held(folder: Path) -> bool:
    """Whether another process holds `folder` now."""
    file = folder / ".lock"
    if not file.exists():
        return False
    with file.open("r") as lock:
        return not _locks(lock, fcntl.LOCK_SH)


def _locks(lock: IO[str], how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
