"""Gold answers that no answer can match, not even one that says the same.

Such an answer is of its kind, but cannot stand in a box, or is an expression that the maths library
does not read, so that only the same characters would equal it.
"""

from shared.grading.extract import final_answer
from shared.grading.grade import ExpressionGrader, grade, same_expression
from shared.grading.kinds.steps import split_steps
from shared.grading.kinds.wrapping import unwrap
from shared.sample import AnswerKind


async def gold_matches_itself(gold: str, kind: AnswerKind, expressions: ExpressionGrader) -> bool:
    """Whether the gold answer's own text in a box is right.

    Expressions must be equal for the maths library: equal texts do not count.

    Raises:
        UngradableGold: when `gold` is not of kind `kind`.
    """
    boxed = final_answer(rf"\boxed{{{gold}}}")
    if not await grade(boxed, gold, kind, expressions) or boxed is None:
        return False
    if kind == "steps":
        parts = list(split_steps(unwrap(boxed)).values())
    else:
        parts = [boxed] if kind == "math" else []
    for part in parts:
        if not await same_expression(part, part, expressions, by_text=False):
            return False
    return True
