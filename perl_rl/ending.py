"""How every command ends: its exit status, and one line for what a person can fix.

Status 0: done; 1: failed; 2: bad input or environment; 130: interrupted.
"""

import errno
import sys
from collections.abc import Callable

from shared.errors import UserError

USER_ERROR_STATUS = 2
"""Exit status of a command that refuses its input or settings."""
ERROR_PREFIX = "perl-rl: error: "
"""Begins the line that says what such a command refuses."""

_INTERRUPTED_STATUS = 130

_PLACES = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS),
    *(errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.EEXIST),
}
"""What is wrong with a place in the file system, rather than with the program."""


class RunFailed(Exception):
    """The run did not do what its configuration asked; says what failed and how."""


def ended(command: Callable[[], int], debug: bool = False) -> int:
    """Run a command; its errors become a line on standard error and an exit status.

    Args:
        debug: raise them instead, with their tracebacks.
    """
    try:
        return command()
    except UserError as error:
        if debug:
            raise
        return _refused(str(error))
    except RunFailed as failure:
        if debug:
            raise
        # Followed by the last lines of a log, where there is one.
        print(f"perl-rl: failed: {failure}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has left (``perl-rl permute ... | head``).
        sys.stderr.close()
        return 1
    except OSError as error:
        # A file or folder that a person has named; anything else has no name.
        if debug or error.filename is None or error.errno not in _PLACES:
            raise
        return _refused(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        if debug:
            raise
        return _INTERRUPTED_STATUS


def error_line(message: str) -> str:
    """`message` on one line, as every command says what it refuses."""
    return ERROR_PREFIX + " ".join(message.split())


def _refused(message: str) -> int:
    print(error_line(message), file=sys.stderr)
    return USER_ERROR_STATUS
