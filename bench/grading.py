"""What grading one response costs, by the kind of its answer: `python -m bench.grading`.

Milliseconds of CPU of the reward node for each response; and by the clock, since expressions are
compared in processes. Numbers, lists, texts and expressions are new each time; letters, places, yes
and no repeat.
"""

import asyncio
import time

from services.reward.scoring import Scorer
from shared.config import RewardConfig
from shared.grading.pool import GraderPool
from shared.sample import AnswerKind

ANSWERS: dict[AnswerKind, tuple[str, str]] = {
    "letter": ("B", "(B)"),
    "position": ("second", "the second image"),
    "number": ("{0}.5 cm", "{0}.50 cm"),
    "boolean": ("yes", "Yes."),
    "text": ("word {}", "Word {}"),
    "list": ("a{0}, b, c", "c, a{0}, b"),
    "math": (r"\frac{{{0}}}{{3}}", r"{0}/3"),
}
"""A gold answer, and how a response writes it; a number makes each of them new."""
COUNT, WARM = 300, 5


async def measure() -> None:
    """Print a line for each kind."""
    config = RewardConfig(workers=1)
    async with GraderPool(config) as pool:
        scorer = Scorer(config, pool)
        for kind, (gold, written) in ANSWERS.items():
            fixed = "{" not in gold
            responses = [
                (
                    f"<think>so</think>\\boxed{{{written.format(gold if fixed else number)}}}",
                    gold if fixed else gold.format(number),
                )
                for number in range(COUNT + WARM)
            ]
            for one in responses[:WARM]:
                await scorer.score(*one, kind)
            cpu, clock = time.process_time(), time.monotonic()
            for one in responses[WARM:]:
                await scorer.score(*one, kind)
            cpu_ms = 1000 * (time.process_time() - cpu) / COUNT
            clock_ms = 1000 * (time.monotonic() - clock) / COUNT
            print(f"{kind:9} {cpu_ms:.3f} ms CPU of the node, {clock_ms:.3f} ms by the clock")


if __name__ == "__main__":
    asyncio.run(measure())
