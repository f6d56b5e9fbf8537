"""Compares a final answer with the gold answer by the kind of the answer.

Each kind has a module in ``graders/`` that reads an answer into a form that can be compared. A new
kind (a list, several steps, a quantity with a unit, a judge) is one more module there, one more
name in ``shared.sample.AnswerKind`` and one more line here.
"""

from collections.abc import Callable
from typing import Protocol

from services.reward.extract import MAX_ANSWER_CHARS
from services.reward.graders.letter import read_letter
from services.reward.graders.maths import pairs_to_compare
from services.reward.graders.number import DEFAULT_TOLERANCE, read_number, same_number
from services.reward.graders.position import read_position
from services.reward.graders.text import read_text
from shared.sample import AnswerKind


class UngradableGold(ValueError):
    """The gold answer is not of the kind that its sample says: the data is wrong, not the model."""


class ExpressionGrader(Protocol):
    """Decides whether mathematical expressions are equal; see ``workers.py``."""

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        """Whether both sides of every pair are equal; False when that cannot be decided in time."""
        ...


def _read_number(answer: str) -> str | None:
    value = read_number(answer)
    return None if value is None else f"{value:.12g}"


_READERS: dict[AnswerKind, Callable[[str], str | None]] = {
    "letter": read_letter,
    "position": read_position,
    "number": _read_number,
    "text": read_text,
    "math": read_text,
}


def canonical(answer: str, kind: AnswerKind) -> str | None:
    """The one form that all answers with the same meaning share; None when it cannot be read.

    Letters become capitals, places digits counted from 1. An expression is only normalised as text.
    """
    return None if len(answer) > MAX_ANSWER_CHARS else _READERS[kind](answer)


def check_gold(gold: str, kind: AnswerKind) -> None:
    """Refuse a gold answer that no response could match.

    Raises:
        UngradableGold: naming the answer and the kind.
    """
    if canonical(gold, kind) is None:
        raise UngradableGold(f"the gold answer {gold[:80]!r} is not of kind '{kind}'")


async def grade(
    answer: str | None,
    gold: str,
    kind: AnswerKind,
    expressions: ExpressionGrader,
    tolerance: float = DEFAULT_TOLERANCE,
) -> bool:
    """Whether a final answer (see ``extract.final_answer``) is right; no answer is wrong.

    Args:
        tolerance: relative, for kind ``number``.

    Raises:
        UngradableGold: when `gold` is not of kind `kind`.
    """
    check_gold(gold, kind)
    if answer is None or len(answer) > MAX_ANSWER_CHARS:
        return False
    if kind == "math":
        pairs = pairs_to_compare(gold, answer)
        return pairs if isinstance(pairs, bool) else await expressions.equal(pairs)
    if kind == "number":
        right, given = read_number(gold), read_number(answer)
        return right is not None and given is not None and same_number(right, given, tolerance)
    return canonical(answer, kind) == canonical(gold, kind)
