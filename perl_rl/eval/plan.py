"""Plans the questions: every item in its original order, and in others if it may be permuted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perl_rl.asking import short_seed
from perl_rl.eval.items import Item
from perl_rl.eval.models import Prompt
from perl_rl.eval.robustness import orders_to_ask
from shared.permutation import RenderedOrder, apply_order, identity, refusal
from shared.sample import Sample


@dataclass(frozen=True)
class Question:
    """An item in one order, asked once."""

    item: Item
    order: int
    """0 is the original order."""
    repeat: int
    """Above 0: the same order, asked again."""
    rendered: RenderedOrder

    @property
    def key(self) -> str:
        """The question's name in the journal."""
        return f"{self.item.sample.id}/{self.order}/{self.repeat}"

    def prompt(self, seed: int) -> Prompt:
        """The question as the model is asked it."""
        drawn = short_seed(seed, self.item.sample.id, self.order, self.repeat)
        return Prompt(self.key, self.rendered.question, self.rendered.images, drawn)


def plan(items: Iterable[Item], orders: int, floor: bool, seed: int) -> list[Question]:
    """Every question, item by item, the original order first.

    Args:
        orders: how many orders of an item that may be permuted, with the original one.
        floor: also ask the original order as often as there are orders.
    """
    return [one for item in items for one in _of_item(item, orders, floor, seed)]


def _of_item(item: Item, orders: int, floor: bool, seed: int) -> list[Question]:
    sample = item.sample
    if orders < 2 or refusal(sample) is not None:
        return [Question(item, 0, 0, _as_it_is(sample))]
    asked = [
        Question(item, index, 0, apply_order(sample, permutation))
        for index, permutation in enumerate(orders_to_ask(sample, orders, seed))
    ]
    repeats = range(1, len(asked)) if floor else ()
    return asked + [Question(item, 0, repeat, asked[0].rendered) for repeat in repeats]


def _as_it_is(sample: Sample) -> RenderedOrder:
    return RenderedOrder(
        question=sample.question,
        images=sample.images,
        answer=sample.answer,
        permutation=identity(len(sample.images)),
    )


def by_item(questions: Sequence[Question]) -> list[list[Question]]:
    """The questions of each item, in order."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.item.sample.id, []).append(question)
    return list(groups.values())
