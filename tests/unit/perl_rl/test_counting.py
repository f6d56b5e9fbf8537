"""How far work is: a bar in a terminal, lines elsewhere."""

import io

from perl_rl.counting import counting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_without_a_terminal() -> None:
    out = io.StringIO()
    with counting("label", total=5, done=2, out=out) as advance:
        for _ in range(3):
            advance()
    assert out.getvalue() == "label: 2 of 5\nlabel: 5 of 5\n"


def test_a_bar_in_a_terminal() -> None:
    out = Terminal()
    with counting("label", total=5, done=4, out=out) as advance:
        advance()
    assert "label" in out.getvalue() and "5/5" in out.getvalue()
