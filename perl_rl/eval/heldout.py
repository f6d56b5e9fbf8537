"""A run's held-out questions: which are asked, in which orders, and what the answers show.

Asked of any `Model`: before and after training the same prompts, greedily.
"""

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from perl_rl.eval.models import Decoding, Model, Prompt
from perl_rl.eval.robustness import (
    OrderRobustness,
    item_answers,
    measure_robustness,
    orders_to_ask,
    permutable,
)
from shared.config import Config
from shared.errors import UserError
from shared.formats import load
from shared.permutation import apply_order
from shared.records.evaluations import Asked
from shared.sample import Sample
from shared.together import together

Told = Callable[[int, int], None]
"""Called with how many answers are there, and how many there will be."""

_SEED = 0
"""Runs of any seed are asked the same questions in the same orders."""


class HeldOutResult(OrderRobustness):
    """What the answers show, what was asked, and who answered."""

    asked: Asked
    versions: tuple[str, ...] = ()
    """The policy version that answered; the first and the last one where weights changed meanwhile.
    Empty when a model folder was asked."""


class HeldOut:
    """The samples that may be permuted, each in up to ``eval.orders`` orders.

    Args:
        samples: of ``data.heldout``.
        orders: the most orders of one sample, with the original one.
        most: how many samples to ask; the others are left out at random. Default: all.

    Raises:
        UserError: when no sample may be permuted.
    """

    def __init__(self, samples: Sequence[Sample], orders: int, most: int | None = None) -> None:
        kept, self._excluded = permutable(samples)
        if not kept:
            raise UserError(
                f"data.heldout: none of its {len(samples)} questions may be permuted "
                f"({', '.join(self._excluded) or 'the file is empty'}); set 'order' in some of "
                "them, or leave data.heldout out"
            )
        if most is not None and most < len(kept):
            chosen = sorted(random.Random(_SEED).sample(range(len(kept)), most))
            kept = [kept[place] for place in chosen]
        self._orders = orders
        self._asked = [(sample, orders_to_ask(sample, orders, _SEED)) for sample in kept]

    def prompts(self) -> list[Prompt]:
        """Every sample in each of its orders."""
        return list(self._prompts())

    def _prompts(self) -> Iterator[Prompt]:
        for sample, permutations in self._asked:
            for number, permutation in enumerate(permutations):
                rendered = apply_order(sample, permutation)
                key = f"{sample.id}, order {number}"
                yield Prompt(key, rendered.question, rendered.images, seed=_SEED)

    def asked(self, decoding: Decoding) -> Asked:
        """What `ask` asks with this decoding."""
        whole, prompts = hashlib.sha256(decoding.instruction.encode()), 0
        for sample, permutations in self._asked:
            for permutation in permutations:
                rendered, prompts = apply_order(sample, permutation), prompts + 1
                names = [Path(image).name for image in rendered.images]
                told = (sample.id, rendered.question, names, rendered.answer, sample.kind)
                whole.update(json.dumps(told).encode())
        return Asked(
            questions=len(self._asked),
            prompts=prompts,
            orders=self._orders,
            max_tokens=decoding.max_tokens,
            digest=whole.hexdigest(),
        )

    async def ask(self, model: Model, told: Told = lambda done, total: None) -> OrderRobustness:
        """Ask `model` all prompts, and measure its robustness to order.

        Raises:
            UserError: when a prompt gets no answer.
        """
        prompts = self.prompts()
        responses, waiting, done = [""] * len(prompts), iter(enumerate(prompts)), 0

        async def take_turns() -> None:
            nonlocal done
            for place, prompt in waiting:
                responses[place] = await model.ask(prompt)
                done += 1
                told(done, len(prompts))

        told(0, len(prompts))
        await together(take_turns() for _ in range(min(model.concurrency, len(prompts))))
        return self.robustness(responses)

    def robustness(self, responses: Sequence[str]) -> OrderRobustness:
        """The robustness that the responses show; they are in the order of `prompts`."""
        rest = iter(responses)
        items = [
            item_answers(sample, permutations, [next(rest) for _ in permutations])
            for sample, permutations in self._asked
        ]
        return measure_robustness(items, self._excluded)


def held_out(config: Config, folder: Path) -> HeldOut:
    """A run's held-out questions; pictures inside data files are copied into the run's `folder`.

    Raises:
        UserError: when they cannot be read, or none may be permuted.
    """
    loaded = load(config.data, config.data.heldout_sources(), folder / "images")
    return HeldOut(loaded.samples, config.eval.orders, config.data.heldout_samples)


def refuse_unlike(one: Asked | None, other: Asked | None, places: tuple[str, str]) -> None:
    """Check that two results may be shown side by side.

    Args:
        places: their files, for the message.

    Raises:
        UserError: when they are of other questions or orders, naming both.
    """
    if one is None or one != other:
        first, second = ("not recorded" if a is None else a.words() for a in (one, other))
        raise UserError(
            f"{places[0]} and {places[1]} asked different things, so they cannot be compared: "
            f"{first}; {second}. Delete the one that is not wanted and run perl-rl report"
        )


def decoding(config: Config) -> Decoding:
    """How a run's held-out questions are answered: greedily."""
    return Decoding(config.data.instruction, config.eval.max_tokens)
