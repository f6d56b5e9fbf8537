r"""Finds ``\boxed{...}`` in a text, in time linear in its length."""

import re

# A backslash belongs to the character after it: \{ is no brace. A box is tried first.
_TOKEN = re.compile(r"\\boxed\s{0,8}\{|\\.|[{}]", re.DOTALL)


def last_box(text: str) -> tuple[int, int] | None:
    r"""Start and end of the content of the last ``\boxed{...}`` with balanced braces."""
    # One entry for each open brace: where its content starts, or -1 when it opens no box.
    open_braces: list[int] = []
    last: tuple[int, int] | None = None
    for token in _TOKEN.finditer(text):
        found = token.group()
        if found == "{":
            open_braces.append(-1)
        elif found.startswith("\\boxed"):
            open_braces.append(token.end())
        elif found == "}" and open_braces:
            start = open_braces.pop()
            if start >= 0 and (last is None or start > last[0]):
                last = (start, token.start())
    return last
