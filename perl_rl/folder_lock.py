"""A lock on a folder: one process at a time works in it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import UserError
from shared.files import make_folder


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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: {busy}") from None
        yield


def is_held(folder: Path) -> bool:
    """Whether another process holds `folder` now."""
    file = folder / ".lock"
    if not file.exists():
        return False
    with file.open("r") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
