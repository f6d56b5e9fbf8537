r"""Mathematical expressions: what is settled before a maths library is asked.

Two rules of ours that the library does not have: a bare list is ordered (``1,2`` is not ``2,1``,
while ``\{1,2\}`` is ``\{2,1\}``), and a percent sign is a unit (50% is not 0.5). The rest is
equality of expressions and is decided in a worker process (``math_worker.py``).
"""

import re

from services.reward.graders.text import read_text
from services.reward.graders.wrapping import unwrap

_THOUSANDS = re.compile(r"\s*-?\d{1,3}(?:,\s?\d{3})+(?:\.\d+)?\s*", re.ASCII)
_PERCENT = re.compile(r"\s?(?:\\?%|percent)$")
_WORDS = re.compile(r"[A-Za-z]{3,}(?:[\s-]+[A-Za-z]+)*")
_OPENING, _CLOSING = "([{", ")]}"


def pairs_to_compare(gold: str, given: str) -> list[tuple[str, str]] | bool:
    """What has to be equal for `given` to be right: pairs of expressions, or the verdict itself.

    Args:
        gold: the right answer, as LaTeX or plain text.
        given: the answer to grade.
    """
    gold, given = unwrap(gold).rstrip("."), unwrap(given).rstrip(".")
    if not gold or not given:
        return False
    if gold == given:
        return True
    # A maths library reads a word as a product of letters and finds "yes" equal to "yse".
    if _WORDS.fullmatch(gold):
        return read_text(gold) == read_text(given)
    golds, givens = _items(gold), _items(given)
    if len(golds) > 1 and len(givens) > 1:
        if len(golds) != len(givens):
            return False
        return [_without_percent(*pair) for pair in zip(golds, givens, strict=True)]
    return [_without_percent(gold, given)]


def _items(text: str) -> list[str]:
    """The items of a bare list, split at commas outside all brackets; else the text as one."""
    if _THOUSANDS.fullmatch(text):
        return [text]
    items, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character in ",;" and depth == 0:
            items.append(text[start:place].rstrip("\\").strip())
            start = place + 1
    return [*items, text[start:].strip()]


def _without_percent(gold: str, given: str) -> tuple[str, str]:
    return _PERCENT.sub("", gold), _PERCENT.sub("", given)
