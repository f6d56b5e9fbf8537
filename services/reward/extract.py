r"""From a response to its final answer, and the check of the response's form.

Responses are untrusted: everything here is linear in the length of the text, and texts beyond a
bound are not read at all.
"""

import re

MAX_RESPONSE_CHARS = 200_000
"""Longer responses count as malformed and without an answer."""

MAX_ANSWER_CHARS = 2_000
"""Longer contents of a box count as no answer."""

_THINK, _END_THINK = "<think>", "</think>"

# A backslash takes the character after it along, so that \{ is no brace; the box comes first.
_TOKEN = re.compile(r"\\boxed\s{0,8}\{|\\.|[{}]", re.DOTALL)


def final_answer(response: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` whose braces are balanced; None without one."""
    span = _last_box(response) if len(response) <= MAX_RESPONSE_CHARS else None
    if span is None or span[1] - span[0] > MAX_ANSWER_CHARS:
        return None
    return response[span[0] : span[1]].strip()


def well_formed(response: str) -> bool:
    r"""Whether the whole response is ``<think>...</think>`` and then text with ``\boxed{...}``.

    White space around it does not count; a second pair of think tags does.
    """
    if len(response) > MAX_RESPONSE_CHARS:
        return False
    text = response.strip()
    thought, end, after = text.partition(_END_THINK)
    if not end or not thought.startswith(_THINK):
        return False
    if _THINK in thought[len(_THINK) :] or _THINK in after or _END_THINK in after:
        return False
    return _last_box(after) is not None


def _last_box(text: str) -> tuple[int, int] | None:
    """Start and end of the content of the balanced box that starts last."""
    # One entry an open brace: where its content starts, or -1 for a brace that is no box.
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
