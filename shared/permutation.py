"""Orders of a sample's images: which there are, drawing distinct ones, and re-indexing the answer.

A permutation is a tuple `p` with `p[slot] = index of the image, in the original order, that the
slot shows now`. The image that was at `j` is found at `p.index(j)`.
"""

import itertools
import math
import random
import re
import string
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from shared.sample import Sample

Permutation = tuple[int, ...]

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

# Up to this many orders all of them are listed and a sample drawn without replacement; beyond it
# repeated draws hardly ever collide.
_LIST_ALL_UP_TO = 5040


# Words that name an image by its place: they go stale when the images move.
_NAMES_A_PLACE = re.compile(
    r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|last|left(?:most)?|right(?:most)?)"
    r"(?:\s+\w+)?\s+(?:image|picture|photo|figure|panel)s?\b"
    r"|\b(?:image|picture|photo|figure|fig\.?|panel)\s*[#(]?\s*(?:\d+|(?-i:[A-H])\b)",
    re.IGNORECASE,
)


class RenderedOrder(BaseModel):
    """A sample in one order of its images: what the model is asked and what is right there."""

    model_config = ConfigDict(frozen=True)

    question: str
    images: tuple[str, ...]
    answer: str
    permutation: Permutation


def refusal(sample: Sample) -> str | None:
    """Why `sample` must not be permuted, or None when it may be."""
    if sample.order is None:
        return "no_order_rule"
    if len(sample.images) - len(set(sample.fixed)) < 2:
        return "fewer_than_two_movable_images"
    if sample.order == "invariant" and _NAMES_A_PLACE.search(sample.question):
        return "text_names_an_image_by_place"
    if sample.order != "invariant" and _slot_of(sample.answer, sample) is None:
        return "answer_names_no_slot"
    return None


def identity(count: int) -> Permutation:
    """The original order of `count` images."""
    return tuple(range(count))


def number_of_orders(count: int, fixed: tuple[int, ...] = ()) -> int:
    """How many orders `count` images have when those at the indices `fixed` do not move."""
    return math.factorial(count - len(set(fixed)))


def draw_orders(
    count: int, wanted: int, rng: random.Random, fixed: tuple[int, ...] = ()
) -> list[Permutation]:
    """Draw `wanted` different orders other than the original one, uniformly.

    Returns all of them, in random order, where there are fewer than `wanted`.
    """
    available = number_of_orders(count, fixed) - 1
    wanted = min(wanted, available)
    if available < _LIST_ALL_UP_TO:
        return rng.sample(all_orders(count, fixed)[1:], wanted)
    drawn: dict[Permutation, None] = {}
    while len(drawn) < wanted:
        order = _random_order(count, rng, fixed)
        if order != identity(count):
            drawn[order] = None
    return list(drawn)


def all_orders(count: int, fixed: tuple[int, ...] = ()) -> list[Permutation]:
    """Every order, the original one first."""
    movable = [index for index in range(count) if index not in fixed]
    return [_place(count, movable, moved) for moved in itertools.permutations(movable)]


def apply_order(sample: Sample, permutation: Permutation) -> RenderedOrder:
    """The sample as asked in the order `permutation`.

    The text stays: its image tags and labels belong to slots. Images move, and the answer moves
    with them as the sample's order rule says.
    """
    return RenderedOrder(
        question=sample.question,
        images=tuple(sample.images[index] for index in permutation),
        answer=answer_under(sample.answer, sample, permutation),
        permutation=permutation,
    )


def answer_under(answer: str, sample: Sample, permutation: Permutation) -> str:
    """Re-index an answer given in the original order (the paper's Lambda(answer, sigma))."""
    slot = _slot_of(answer, sample)
    return answer if slot is None else _rename(answer, sample, permutation.index(slot))


def answer_in_original(answer: str, sample: Sample, permutation: Permutation) -> str:
    """Map an answer given under `permutation` back to the labels of the original order."""
    slot = _slot_of(answer, sample)
    return answer if slot is None else _rename(answer, sample, permutation[slot])


def gold_slot(sample: Sample, permutation: Permutation) -> int | None:
    """The slot that shows the gold image under `permutation`; None when no image is the answer."""
    slot = _slot_of(sample.answer, sample)
    return None if slot is None else permutation.index(slot)


def _slot_of(answer: str, sample: Sample) -> int | None:
    """Index of the slot that `answer` names by the order rule; None when it names none."""
    word = answer.strip()
    slots = list(range(len(sample.images)))
    names: Sequence[str]
    if sample.order == "letter" and len(word) == 1:
        slots, names, name = _options(sample), string.ascii_uppercase, word.upper()
    elif sample.order == "position" and word.isascii() and word.isdecimal():
        names, name = [str(slot + 1) for slot in slots], word
    elif sample.order == "position":
        names, name = ORDINALS, word.lower()
    else:
        return None
    if len(slots) > len(names) or name not in names[: len(slots)]:
        # With more slots than names, an image could move to a slot that has none.
        return None
    return slots[names.index(name)]


def _options(sample: Sample) -> list[int]:
    """The slots that letters name, A first: those of the images that are not fixed."""
    return [slot for slot in range(len(sample.images)) if slot not in sample.fixed]


def _rename(answer: str, sample: Sample, slot: int) -> str:
    """The name of `slot` in the style in which `answer` names one (A, a, 2, second, Second)."""
    word = answer.strip()
    if word.isdecimal():
        return str(slot + 1)
    if len(word) == 1:
        letter = string.ascii_uppercase[_options(sample).index(slot)]
        return letter if word.isupper() else letter.lower()
    ordinal = ORDINALS[slot]
    return ordinal.capitalize() if word[0].isupper() else ordinal


def _place(count: int, movable: list[int], moved: tuple[int, ...]) -> Permutation:
    order = list(range(count))
    for slot, image in zip(movable, moved, strict=True):
        order[slot] = image
    return tuple(order)


def _random_order(count: int, rng: random.Random, fixed: tuple[int, ...]) -> Permutation:
    movable = [index for index in range(count) if index not in fixed]
    moved = movable.copy()
    rng.shuffle(moved)
    return _place(count, movable, tuple(moved))
