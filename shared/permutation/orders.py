"""Lists and draws the orders of a sample's images.

A permutation is a tuple `p`: slot `s` shows the image with index `p[s]` in the original order. The
image that was at `j` is now at `p.index(j)`.
"""

import itertools
import math
import random
from typing import Literal

Permutation = tuple[int, ...]

OrderChoice = Literal["random", "cyclic", "cyclic_reverse"]
"""Which orders are drawn from. random: all. cyclic: the cyclic shifts of the movable images;
cyclic_reverse: these and the reversal, the set of PA-GRPO (arXiv 2603.21016)."""

# Up to this many orders, list them all and draw without replacement; with more, repeated draws
# hardly ever collide.
_LIST_ALL_UP_TO = 5040


def identity(count: int) -> Permutation:
    """The original order of `count` images."""
    return tuple(range(count))


def number_of_orders(count: int, fixed: tuple[int, ...] = ()) -> int:
    """How many orders `count` images have when the indices `fixed` do not move."""
    return math.factorial(count - len(set(fixed)))


def draw_orders(
    count: int,
    wanted: int,
    rng: random.Random,
    fixed: tuple[int, ...] = (),
    choice: OrderChoice = "random",
) -> list[Permutation]:
    """Draw `wanted` different orders of `choice` uniformly, never the original one.

    Returns all of them, in random order, when there are fewer than `wanted`.
    """
    if choice != "random":
        orders = cyclic_orders(count, fixed, reverse=choice == "cyclic_reverse")[1:]
        return rng.sample(orders, min(wanted, len(orders)))
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


def cyclic_orders(
    count: int, fixed: tuple[int, ...] = (), reverse: bool = False
) -> list[Permutation]:
    """The cyclic shifts of the images that may move, and their reversal if asked for, each order
    once; the original one first."""
    movable = [index for index in range(count) if index not in fixed]
    shifts = [tuple(movable[by:] + movable[:by]) for by in range(max(1, len(movable)))]
    if reverse:
        shifts.append(tuple(reversed(movable)))
    return [_place(count, movable, moved) for moved in dict.fromkeys(shifts)]


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
