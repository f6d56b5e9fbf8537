"""A language model's second opinion on open answers that the rules found wrong.

Several published scorers let a model judge such answers. Its word only ever turns wrong into right,
and the result says for which; letters, and numbers to be rounded, stay with the rules. The judge is
the one of training (``services/reward/judge.py``).
"""

from perl_rl.eval.items import Item
from services.reward.judge import Judge, JudgeUnavailable
from shared.errors import UserError


async def agrees(judge: Judge, item: Item, gold: str, response: str) -> bool:
    """Whether the judge takes the response for one that gives the answer `gold`.

    Raises:
        UserError: when it gives no verdict: nothing is counted as wrong for that.
    """
    try:
        return await judge.agrees(item.sample.question, gold, response)
    except JudgeUnavailable as error:
        raise UserError(
            f"question {item.sample.id}: {error}; name another --judge-model, or grade by rules "
            "alone"
        ) from None


def is_open(item: Item) -> bool:
    """Whether an answer may be right in words that rules do not know."""
    return item.rule in ("kind", "list", "steps") and item.sample.kind != "letter"
