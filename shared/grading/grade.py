"""Compares a final answer with the gold answer, by the kind of the answer.

Each kind has a module in ``kinds/`` that reads an answer into a form for comparison. A new kind
needs a module there, a name in ``shared.sample.AnswerKind`` and a line here.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from shared.grading.kinds.boolean import read_boolean
from shared.grading.kinds.items import read_list
from shared.grading.kinds.letter import read_letter
from shared.grading.kinds.maths import pairs_to_compare
from shared.grading.kinds.number import DEFAULT_TOLERANCE, read_quantity, same_quantity
from shared.grading.kinds.order import read_order
from shared.grading.kinds.parts import alternatives
from shared.grading.kinds.position import read_position
from shared.grading.kinds.steps import read_steps, split_steps, steps_of
from shared.grading.kinds.text import read_exact, read_text
from shared.grading.kinds.wrapping import unwrap
from shared.grading.limits import MAX_ANSWER_CHARS
from shared.sample import AnswerKind
from shared.together import together


class UngradableGold(ValueError):
    """The gold answer is not of its sample's kind: the data is wrong, not the model."""


class ExpressionGrader(Protocol):
    """Decides whether mathematical expressions are equal; `pool.GraderPool` is one."""

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        """Whether both sides of every pair are equal; False when the decision takes too long."""
        ...


# The responses of a group give few different answers, and all of them are compared with one gold.
_REMEMBERED = 1024
_quantity = lru_cache(_REMEMBERED)(read_quantity)


def _read_number(answer: str) -> str | None:
    quantity = _quantity(answer)
    return None if quantity is None else quantity.canonical()


_READERS: dict[AnswerKind, Callable[[str], str | None]] = {
    "letter": read_letter,
    "position": read_position,
    "order": read_order,
    "number": _read_number,
    "math": read_text,
    "boolean": read_boolean,
    "text": read_text,
    "exact": read_exact,
    "list": read_list,
    "steps": read_steps,
}
_MOST_READINGS = 10


def canonical(answer: str, kind: AnswerKind) -> str | None:
    """The form that all answers with the same meaning share; None when it cannot be read.

    Letters become capitals, places become digits counted from 1, quantities get the first unit of
    their dimension. An expression is only normalised as text. The form of a form is itself.
    """
    return None if len(answer) > MAX_ANSWER_CHARS else _canonical(answer, kind)


@lru_cache(_REMEMBERED)
def _canonical(answer: str, kind: AnswerKind) -> str | None:
    form = _READERS[kind](answer)
    for _ in range(_MOST_READINGS):
        again = None if form is None else _READERS[kind](form)
        if again == form:
            return form
        form = again
    return None


def check_gold(gold: str, kind: AnswerKind) -> None:
    """Refuse a gold answer that no response could match.

    Raises:
        UngradableGold: with the answer and the kind.
    """
    if canonical(gold, kind) is None:
        raise UngradableGold(f"the gold answer {gold[:80]!r} is not of kind '{kind}'")


async def grade(
    answer: str | None,
    gold: str,
    kind: AnswerKind,
    expressions: ExpressionGrader,
    tolerance: float | None = None,
) -> bool:
    """Whether a final answer (of ``extract.extract_answer``) is right; None is wrong.

    Args:
        tolerance: relative, for kind ``number``; None allows only for binary rounding.

    Raises:
        UngradableGold: when `gold` is not of kind `kind`.
    """
    check_gold(gold, kind)
    if answer is None or len(answer) > MAX_ANSWER_CHARS:
        return False
    if kind == "math":
        return await same_expression(answer, gold, expressions)
    if kind == "steps":
        return all(await step_shares(answer, gold, expressions))
    return same_answer(answer, gold, kind, tolerance)


async def same_expression(
    answer: str, gold: str, expressions: ExpressionGrader, by_text: bool = True
) -> bool:
    r"""Whether an expression equals one of the gold answer's alternatives (joined by ``\#\#``).

    An answer with alternatives is right when all of them are.

    Args:
        by_text: whether equal texts are equal, although the maths library may not read them.
    """
    wanted, given = alternatives(gold), alternatives(answer)
    if len(given) > len(wanted):
        return False
    for part in given:
        for one in wanted:
            pairs = pairs_to_compare(one, part, by_text)
            if pairs if isinstance(pairs, bool) else await expressions.equal(pairs):
                break
        else:
            return False
    return True


def same_answer(answer: str, gold: str, kind: AnswerKind, tolerance: float | None = None) -> bool:
    """Whether both answers mean the same, without a maths library.

    Expressions, also those in steps, are compared as normalised text. `tolerance`: see `grade`.
    """
    if kind != "number":
        form = canonical(answer, kind)
        return form is not None and form == canonical(gold, kind)
    right, given = _quantity(gold), _quantity(answer)
    allowed = DEFAULT_TOLERANCE if tolerance is None else tolerance
    return right is not None and given is not None and same_quantity(right, given, allowed)


async def step_shares(answer: str | None, gold: str, expressions: ExpressionGrader) -> list[bool]:
    """The verdict on each step of the gold answer (kind ``steps``); a missing step is wrong.

    Steps are compared as expressions. An answer without step numbers is split at semicolons, when
    that gives as many parts as the gold answer has steps.

    Raises:
        UngradableGold: when `gold` has no numbered steps, or an empty one.
    """
    check_gold(gold, "steps")
    wanted = split_steps(unwrap(gold))
    given = {} if answer is None else steps_of(answer[: MAX_ANSWER_CHARS + 1], len(wanted))
    return await together(
        grade(given.get(step), wanted[step], "math", expressions) for step in wanted
    )
