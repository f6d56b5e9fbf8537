"""The judge: a language model that looks again at open answers which the rules found wrong.

Several published scorers use one. It can only turn wrong into right, and the result marks these
answers. Letters and numbers to be rounded are left to the rules. The judge is the same as in
training (``services/reward/judge.py``).
"""

from perl_rl.eval.items import Item
from services.reward.judge import Judge, JudgeUnavailable
from shared.errors import UserError


async def agrees(judge: Judge, item: Item, gold: str, response: str) -> bool:
    """Whether the judge finds the answer `gold` in the response.

    Raises:
        UserError: when it gives no verdict; the answer does not count as wrong then.
    """
    try:
        return await judge.agrees(item.sample.question, gold, response)
    except JudgeUnavailable as error:
        raise UserError(
            f"question {item.sample.id}: {error}; name another --judge-model, or leave --judge "
            "out to grade by rules alone"
        ) from None


def is_open(item: Item) -> bool:
    """Whether an answer may be right in words that the rules do not know."""
    return item.rule in ("kind", "list", "steps") and item.sample.kind != "letter"
