"""Keeps what libraries and their child processes write to standard error out of our lines."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STANDARD_ERROR = 2


@contextmanager
def errors_to(log: Path) -> Iterator[None]:
    """Append standard error to `log` while the block runs.

    Child processes that start meanwhile go on writing there.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(_STANDARD_ERROR)
    try:
        with log.open("ab") as stream:
            os.dup2(stream.fileno(), _STANDARD_ERROR)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)
