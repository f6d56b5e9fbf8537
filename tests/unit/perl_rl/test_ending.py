"""How a command ends: its status, and what stands on standard error."""

import errno
from collections.abc import Callable

import pytest

from perl_rl.ending import RunFailed, ended
from shared.errors import UserError


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("a.yaml: no\n  such key"), 2, "perl-rl: error: a.yaml: no such key\n"),
        (RunFailed("it ended; its log:\n  a"), 1, "perl-rl: failed: it ended; its log:\n  a\n"),
        (OSError(errno.ENOSPC, "No space left", "/x"), 2, "perl-rl: error: /x: No space left\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_a_line_and_a_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, said: str
) -> None:
    assert ended(raising(error)) == status
    assert capsys.readouterr().err == said
    with pytest.raises(type(error)):
        ended(raising(error), debug=True)


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(errno.EIO, "bad disk", "/x")])
def test_what_no_person_can_fix_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        ended(raising(error))


def test_what_a_command_returns_is_its_status() -> None:
    assert ended(lambda: 143) == 143
