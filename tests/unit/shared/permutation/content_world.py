"""A world for tests of the permutation engine: an image is named by what it shows, "7" shows 7.

A solver reads a rendered question with its own patterns, looks at the images in their order, and
works out the answer. `check` compares the engine with the solver under every order.
"""

import itertools
import re
from collections.abc import Callable, Iterator

from hypothesis import strategies as st

from shared.permutation import (
    Permutation,
    RenderedOrder,
    answer_in_original,
    apply_order,
    gold_slot,
    read,
)
from shared.sample import Sample

COUNTS = (2, 3, 4, 5)
WORDS = ("first", "second", "third", "fourth", "fifth")
NUMERALS = "一二三四五"
CIRCLED = "①②③④⑤"
worlds = st.permutations(range(1, 10))


def slot_named(token: str) -> int:
    """The slot that a name means, as the solver reads it."""
    alphabets = ("12345", "ABCDE", "abcde", NUMERALS, CIRCLED, WORDS, ("left", "right"))
    extremes = (("leftmost", "rightmost"), ("左", "右"), ("one", "two", "three", "four", "five"))
    nth = ("1st", "2nd", "3rd", "4th", "5th")
    for names in (*alphabets, *extremes, nth):
        for candidate in (token, token.lower()):
            if candidate in names:
                return list(names).index(candidate)
    raise AssertionError(f"the solver cannot read {token!r}")


def shown(rendered: RenderedOrder) -> list[int]:
    """What the images show, slot by slot."""
    return [int(image) for image in rendered.images]


def compare(rendered: RenderedOrder, pattern: str) -> str:
    """Whether the first image named in the question shows a larger value than the second."""
    first, second = re.findall(pattern, rendered.question)
    values = shown(rendered)
    return "yes" if values[slot_named(first)] > values[slot_named(second)] else "no"


def build(
    question: str, values: tuple[int, ...], answer: str, order: str, fixed: tuple[int, ...] = ()
) -> Sample:
    """A sample whose images show `values`."""
    fields = {"id": "s", "question": question, "images": tuple(map(str, values)), "fixed": fixed}
    kinds = {"invariant": "text", "letter": "letter", "position": "position", "order": "order"}
    return Sample.model_validate({**fields, "answer": answer, "kind": kinds[order], "order": order})


def orders(count: int, fixed: tuple[int, ...] = ()) -> list[Permutation]:
    """Every order in which the fixed images stay in place."""
    every = itertools.permutations(range(count))
    return [order for order in every if all(order[slot] == slot for slot in fixed)]


def check(
    sample: Sample,
    solve: Callable[[RenderedOrder], str],
    pattern: str = r"(?!)",
    spelled_back: bool = True,
) -> None:
    """The solver is right under every order, only names changed, and the inverse undoes it.

    Args:
        pattern: the names; all other text must stay as it is.
        spelled_back: whether the inverse order restores exactly the same words.
    """
    assert read(sample).reason is None, read(sample)
    for order in orders(len(sample.images), sample.fixed):
        rendered = apply_order(sample, order)
        assert rendered.images == tuple(sample.images[index] for index in order)
        assert rendered.answer == solve(rendered), (sample, order)
        assert answer_in_original(rendered.answer, sample, order) == sample.answer
        assert re.sub(pattern, "@", rendered.question) == re.sub(pattern, "@", sample.question)
        if sample.order in ("letter", "position"):
            slot, gold = gold_slot(sample, order), gold_slot(sample, tuple(range(len(order))))
            assert slot is not None and order[slot] == gold
        _check_inverse(sample, rendered, spelled_back)


def _check_inverse(sample: Sample, rendered: RenderedOrder, spelled_back: bool) -> None:
    order = rendered.permutation
    back = tuple(order.index(slot) for slot in range(len(order)))
    moved = {"question": rendered.question, "images": rendered.images, "answer": rendered.answer}
    again = apply_order(sample.model_copy(update=moved), back)
    assert (again.images, again.answer) == (sample.images, sample.answer)
    if spelled_back:
        assert again.question == sample.question


def pair(world: list[int], pick: int) -> tuple[int, int]:
    """Two different slots."""
    pairs = list(itertools.permutations(range(len(world)), 2))
    return pairs[pick % len(pairs)]


def fixed_sets(count: int) -> Iterator[tuple[int, ...]]:
    """Every set of fixed images that leaves at least two others to move."""
    for size in range(count - 1):
        yield from itertools.combinations(range(count), size)
