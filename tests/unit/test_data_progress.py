"""The progress of a stage: a bar in a terminal, lines elsewhere."""

import io

from perl_rl.data.progress import StageProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_without_a_terminal() -> None:
    out = io.StringIO()
    with StageProgress("label", total=5, done=2, out=out) as progress:
        for _ in range(3):
            progress.advance()
    assert out.getvalue() == "label: 2/5\nlabel: 5/5\n"


def test_a_bar_in_a_terminal() -> None:
    out = Terminal()
    with StageProgress("label", total=5, done=4, out=out) as progress:
        progress.advance()
    assert "label" in out.getvalue() and "5/5" in out.getvalue()
