"""Questions in the form of the paper's data sets and of benchmarks, in every order of images."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.permutation import RenderedOrder
from shared.sample import IMAGE_TAG
from tests.unit.shared.permutation.content_world import (
    COUNTS,
    WORDS,
    build,
    check,
    shown,
    slot_named,
    worlds,
)

LETTERS = "ABCDE"
few = settings(derandomize=True, max_examples=6, deadline=None)


def nearest(reference: int, values: list[int]) -> str:
    """The letter of the value that is nearest to the reference; the first of two."""
    return LETTERS[min(range(len(values)), key=lambda i: (abs(values[i] - reference), values[i]))]


@given(worlds, st.booleans(), st.booleans())
@few
def test_nlvr2(world: list[int], swapped: bool, options: bool) -> None:
    sides = ("right", "left") if swapped else ("left", "right")
    text = f"The {sides[0]} image has more dogs than the {sides[1]} image."
    tail = "\nOptions: (A) True (B) False" if options else " Is it true or false?"

    def judge(question: str, values: list[int]) -> str:
        a, b = (slot_named(side) for side in re.findall(r"the (left|right) image", question, re.I))
        return ("AB" if options else ("true", "false"))[values[a] <= values[b]]

    question = f"{IMAGE_TAG * 2}\nHere is a statement about 2 images: {text}{tail}"
    sample = build(question, tuple(world[:2]), judge(question, world), "invariant")
    check(sample, lambda seen: judge(seen.question, shown(seen)), "(left|right)")


@given(worlds)
@few
def test_dreamsim(world: list[int]) -> None:
    question = (
        f"Reference image: {IMAGE_TAG}\nImage A: {IMAGE_TAG}\nImage B: {IMAGE_TAG}\n"
        "Which of the two images is more similar to the reference image?"
    )

    def solve(seen: RenderedOrder) -> str:
        reference, *options = shown(seen)
        assert reference == world[0]
        return nearest(reference, options)

    sample = build(question, tuple(world[:3]), nearest(world[0], world[1:3]), "letter", (0,))
    check(sample, solve)


@pytest.mark.parametrize("count", COUNTS)
@given(worlds)
@few
def test_iconqa_and_options_of_mv_math(count: int, world: list[int]) -> None:
    values = world[: count + 1]
    options = "\n".join(f"{letter}. {IMAGE_TAG}" for letter in LETTERS[:count])
    question = f"{IMAGE_TAG}\nWhich choice is nearest to Figure 1?\n{options}"
    sample = build(question, tuple(values), nearest(values[0], values[1:]), "letter", (0,))
    check(sample, lambda seen: nearest(shown(seen)[0], shown(seen)[1:]))


@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.permutations(range(5)))
@few
def test_figures_of_mv_math(count: int, world: list[int], mixed: list[int]) -> None:
    # Captions after the figures, and a text that names them in another order.
    world, order = world[:count], [slot for slot in mixed if slot < count]
    head = "".join(f"{IMAGE_TAG}\nFigure {i + 1}\n" for i in range(count))
    facts = ", ".join(f"Figure {slot + 1} counts {10**place}" for place, slot in enumerate(order))

    def solve(seen: RenderedOrder) -> str:
        assert seen.question.startswith(head)
        values, text = shown(seen), seen.question.removeprefix(head)
        found = re.findall(r"Figure (\d) counts (\d+)", text)
        assert len(found) == count
        return str(sum(int(weight) * values[int(figure) - 1] for figure, weight in found))

    total = str(sum(10**place * world[slot] for place, slot in enumerate(order)))
    question = f"{head}\nIn a sum, {facts}. What is it?"
    check(build(question, tuple(world), total, "invariant"), solve, r"(?<=Figure )\d")


@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.booleans())
@few
def test_choices_of_blink(count: int, world: list[int], by_letter: bool) -> None:
    # The options name the images: either they are rewritten and the letter stays, or the letter
    # follows its image and they stay.
    world = world[:count]
    lines = "\n".join(f"({LETTERS[i]}) the {WORDS[i]} image" for i in range(count))
    question = (
        f"{IMAGE_TAG * count}\nWhich image shows the most?\nSelect from the options.\n{lines}"
    )

    def solve(seen: RenderedOrder) -> str:
        values = shown(seen)
        named = [slot_named(word) for word in re.findall(r"the (\w+) image", seen.question)]
        return LETTERS[named.index(values.index(max(values)))]

    answer = LETTERS[world.index(max(world))]
    rule = "letter" if by_letter else "invariant"
    sample = build(question, tuple(world), answer, rule)
    check(sample, solve, r"(?!)" if by_letter else "|".join(WORDS))
