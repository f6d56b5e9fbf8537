"""How answers hold up when the images change their order: accuracy, worst case and flip rate.

Pure functions over answers that were given already.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from perl_rl.eval.bootstrap import Bootstrap, Estimate
from shared.grading.extract import final_answer
from shared.grading.grade import canonical, same_answer
from shared.permutation import (
    Permutation,
    all_orders,
    answer_in_original,
    answer_under,
    draw_orders,
    gold_slot,
    identity,
    number_of_orders,
    refusal,
)
from shared.sample import Sample


@dataclass(frozen=True)
class OrderAnswer:
    """The final answer to one sample under one order; `given` is in the grader's canonical form,
    or None without an answer."""

    permutation: Permutation
    given: str | None
    right: bool


@dataclass(frozen=True)
class ItemAnswers:
    """One sample with its answers under all the orders it was asked in."""

    sample: Sample
    answers: tuple[OrderAnswer, ...]

    @property
    def accuracy(self) -> float:
        """Share of the orders with the right answer."""
        return sum(answer.right for answer in self.answers) / len(self.answers)

    @property
    def always_right(self) -> bool:
        """Whether the answer is right under every order."""
        return all(answer.right for answer in self.answers)

    @property
    def flips(self) -> bool:
        """Whether the answers differ when they are mapped back to the original order's labels."""
        return len({self._in_original(answer) for answer in self.answers}) > 1

    def outcome(self) -> "ItemOutcome":
        """What is kept of it."""
        return ItemOutcome(right=[one.right for one in self.answers], flips=self.flips)

    def _in_original(self, answer: OrderAnswer) -> str | None:
        if answer.given is None:
            return None
        return answer_in_original(answer.given, self.sample, answer.permutation)


class ItemOutcome(BaseModel):
    """One item under all the orders it was asked in."""

    model_config = ConfigDict(frozen=True)

    right: list[bool]
    """Of each order, the original one first."""
    flips: bool
    """Whether its answers differ when they are mapped back to the original labels."""


class SourceRobustness(BaseModel):
    """The metrics of `OrderRobustness` over the items of one source."""

    model_config = ConfigDict(frozen=True)

    items: int
    accuracy: float
    worst_case: float
    flip_rate: float


class OrderRobustness(BaseModel):
    """Order robustness of a model on a set of samples; shares are between 0 and 1."""

    model_config = ConfigDict(frozen=True)

    items: int
    answers: int
    most_orders: int
    """The largest number of orders that one item was asked in."""
    accuracy: Estimate
    """Mean over items of the share of orders with the right answer."""
    worst_case: Estimate
    """Share of items with the right answer in all their orders."""
    flip_rate: Estimate
    """Share of items whose answer changes with the order."""
    floor: Estimate | None = None
    """Share of items whose answer changes when the same order is asked again, as often as there are
    orders: the part of the flip rate that has other causes. None when it was not measured."""
    accuracy_by_slot: dict[int, float]
    """Accuracy by the slot of the gold image, over items whose answer is an image."""
    interval_by_slot: dict[int, tuple[float, float]] = {}
    """Its 95 % bootstrap confidence interval."""
    by_source: dict[str, SourceRobustness]
    excluded: dict[str, int]
    """How many samples must not be permuted, by reason."""
    by_item: dict[str, ItemOutcome] = {}
    """By the sample's id; empty in results of an older version of this software."""


def orders_to_ask(sample: Sample, most: int, seed: int) -> list[Permutation]:
    """All orders of the sample's images if there are at most `most`. Otherwise that many distinct
    ones, the original first; the same seed and sample give the same orders."""
    count = len(sample.images)
    if number_of_orders(count, sample.fixed) <= most:
        return all_orders(count, sample.fixed)
    rng = random.Random(f"{seed} {sample.id}")
    return [identity(count), *draw_orders(count, most - 1, rng, sample.fixed)]


def permutable(samples: Iterable[Sample]) -> tuple[list[Sample], dict[str, int]]:
    """The samples that may be permuted, and how many others there are, by reason."""
    kept, excluded = [], Counter[str]()
    for sample in samples:
        reason = refusal(sample)
        if reason is None:
            kept.append(sample)
        else:
            excluded[reason] += 1
    return kept, dict(excluded)


def item_answers(
    sample: Sample,
    permutations: Sequence[Permutation],
    responses: Sequence[str],
) -> ItemAnswers:
    """Reduce each response to its final answer and compare it with the gold answer of its order.

    Expressions (kind "math") are compared as normalised text.
    """
    answers = []
    for permutation, response in zip(permutations, responses, strict=True):
        found = final_answer(response)
        given = None if found is None else canonical(found, sample.kind)
        gold = answer_under(sample.answer, sample, permutation)
        right = found is not None and same_answer(found, gold, sample.kind, sample.tolerance)
        answers.append(OrderAnswer(permutation, given, right))
    return ItemAnswers(sample, tuple(answers))


def measure_robustness(
    items: Sequence[ItemAnswers],
    excluded: dict[str, int],
    seed: int = 0,
    repeated: Sequence[ItemAnswers] = (),
) -> OrderRobustness:
    """Order robustness over the answers to all items.

    Args:
        repeated: the same items, with answers to one order that was asked several times. They
            give the floor.

    Raises:
        ValueError: when there is no item.
    """
    if not items:
        raise ValueError("no items to measure the order robustness of")
    bootstrap = Bootstrap(len(items), seed)
    slots = _by_slot(items, bootstrap)
    return OrderRobustness(
        items=len(items),
        answers=sum(len(item.answers) for item in items),
        most_orders=max(len(item.answers) for item in items),
        accuracy=bootstrap.mean([item.accuracy for item in items]),
        worst_case=bootstrap.mean([float(item.always_right) for item in items]),
        flip_rate=bootstrap.mean([float(item.flips) for item in items]),
        floor=bootstrap.mean([float(item.flips) for item in repeated]) if repeated else None,
        accuracy_by_slot={slot: slots[slot].value for slot in slots},
        interval_by_slot={slot: (slots[slot].low, slots[slot].high) for slot in slots},
        by_source=_by_source(items),
        excluded=excluded,
        by_item={item.sample.id: item.outcome() for item in items},
    )


def _by_slot(items: Sequence[ItemAnswers], bootstrap: Bootstrap) -> dict[int, Estimate]:
    """Accuracy by the slot that shows the gold image."""
    rights: dict[int, list[float]] = defaultdict(lambda: [0.0] * len(items))
    asked: dict[int, list[float]] = defaultdict(lambda: [0.0] * len(items))
    for index, item in enumerate(items):
        for answer in item.answers:
            slot = gold_slot(item.sample, answer.permutation)
            if slot is not None:
                rights[slot][index] += answer.right
                asked[slot][index] += 1
    return {slot: bootstrap.ratio(rights[slot], asked[slot]) for slot in sorted(asked)}


def _by_source(items: Iterable[ItemAnswers]) -> dict[str, SourceRobustness]:
    groups: dict[str, list[ItemAnswers]] = defaultdict(list)
    for item in items:
        groups[item.sample.source].append(item)
    return {source: _of_source(groups[source]) for source in sorted(groups)}


def _of_source(items: list[ItemAnswers]) -> SourceRobustness:
    count = len(items)
    return SourceRobustness(
        items=count,
        accuracy=sum(item.accuracy for item in items) / count,
        worst_case=sum(item.always_right for item in items) / count,
        flip_rate=sum(item.flips for item in items) / count,
    )
