"""Standard error of this process and of its children goes to a file while a block runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perl_rl.quiet import errors_to


def test_children_go_on_writing_there_and_we_do_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log, last_words = (
        tmp_path / "work" / "engine.log",
        "import sys; input(); print('b', file=sys.stderr)",
    )
    print("before", file=sys.stderr)
    with errors_to(log):
        os.write(2, b"a\n")
        child = subprocess.Popen([sys.executable, "-c", last_words], stdin=subprocess.PIPE)
    print("after", file=sys.stderr)
    child.communicate(b"\n", timeout=30)
    assert log.read_text() == "a\nb\n"
    assert capfd.readouterr().err == "before\nafter\n"


def test_an_error_gives_it_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), errors_to(tmp_path / "log"):
        raise KeyError
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"
