"""A solver that knows only what the images show is right under every order, for every rule.

In this world image "7" shows a seven. The solver reads the question as it is shown, with patterns
of its own, looks at the images in the order given, and works the answer out.
"""

import itertools
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.permutation import (
    Permutation,
    RenderedOrder,
    answer_in_original,
    apply_order,
    gold_slot,
    read,
)
from shared.sample import IMAGE_TAG, Sample

WORDS = ("first", "second", "third", "fourth", "fifth")
NUMERALS = "一二三四五"
Style = tuple[Callable[[int], str], str]

# How a text names the image in slot i (from 0), and a pattern that finds such names in a text.
STYLES: dict[str, Style] = {
    "image 1": (lambda i: f"image {i + 1}", r"image (\d)"),
    "Image #1": (lambda i: f"Image #{i + 1}", r"Image #(\d)"),
    "Figure 1": (lambda i: f"Figure {i + 1}", r"Figure (\d)"),
    "Fig. 1": (lambda i: f"Fig. {i + 1}", r"Fig\. (\d)"),
    "picture (1)": (lambda i: f"picture ({i + 1})", r"picture \((\d)\)"),
    "Picture A": (lambda i: f"Picture {'ABCDE'[i]}", r"Picture ([A-E])"),
    "the first photo": (lambda i: f"the {WORDS[i]} photo", r"the (\w+) photo"),
    "the 1st image": (
        lambda i: f"the {('1st', '2nd', '3rd', '4th', '5th')[i]} image",
        r"the (\d)\w\w image",
    ),
    "图1": (lambda i: f"图{i + 1}", r"图(\d)"),
    "图片一": (lambda i: f"图片{NUMERALS[i]}", rf"图片([{NUMERALS}])"),
    "第一张图": (lambda i: f"第{NUMERALS[i]}张图", rf"第([{NUMERALS}])张图"),
}
SIDES: Style = (lambda i: f"the {('left', 'right')[i]} image", r"the (left|right) image")


def slot_named(token: str) -> int:
    """The solver's own reading of a name."""
    for names in ("12345", "ABCDE", NUMERALS, WORDS, ("left", "right")):
        if token in names:
            return list(names).index(token)
    raise AssertionError(f"the solver cannot read {token!r}")


def shown(rendered: RenderedOrder) -> list[int]:
    return [int(image) for image in rendered.images]


def compare(rendered: RenderedOrder, pattern: str) -> str:
    """Whether the image named first shows more than the one named next."""
    first, second = re.findall(pattern, rendered.question)
    values = shown(rendered)
    return "yes" if values[slot_named(first)] > values[slot_named(second)] else "no"


def build(
    question: str, values: tuple[int, ...], answer: str, order: str, fixed: tuple[int, ...] = ()
) -> Sample:
    fields = {"id": "s", "question": question, "images": tuple(map(str, values)), "fixed": fixed}
    kinds = {"invariant": "text", "letter": "letter", "position": "position", "order": "order"}
    return Sample.model_validate({**fields, "answer": answer, "kind": kinds[order], "order": order})


def orders(count: int, fixed: tuple[int, ...] = ()) -> list[Permutation]:
    every = itertools.permutations(range(count))
    return [order for order in every if all(order[slot] == slot for slot in fixed)]


def check(sample: Sample, solve: Callable[[RenderedOrder], str], pattern: str = r"(?!)") -> None:
    """The solver is right under every order, only names changed, and the inverse undoes it."""
    assert read(sample).reason is None, read(sample)
    for order in orders(len(sample.images), sample.fixed):
        rendered = apply_order(sample, order)
        assert rendered.answer == solve(rendered), (sample, order)
        assert answer_in_original(rendered.answer, sample, order) == sample.answer
        assert re.sub(pattern, "@", rendered.question) == re.sub(pattern, "@", sample.question)
        if sample.order in ("letter", "position"):
            slot, gold = gold_slot(sample, order), gold_slot(sample, tuple(range(len(order))))
            assert slot is not None and order[slot] == gold
        back = tuple(order.index(slot) for slot in range(len(order)))
        moved = {"question": rendered.question, "images": rendered.images}
        again = apply_order(sample.model_copy(update={**moved, "answer": rendered.answer}), back)
        assert (again.question, again.images) == (sample.question, sample.images)
        assert again.answer == sample.answer


worlds = st.permutations(range(1, 10))
COUNTS = (2, 3, 4, 5)


def pair(world: list[int], pick: int) -> tuple[int, int]:
    """Two different slots."""
    pairs = list(itertools.permutations(range(len(world)), 2))
    return pairs[pick % len(pairs)]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.integers(0, 19), st.booleans())
@settings(derandomize=True, max_examples=3, deadline=None)
def test_a_comparison_of_named_images_stays_true(
    style: str, count: int, world: list[int], pick: int, tags_first: bool
) -> None:
    world = world[:count]
    name, pattern = STYLES[style]
    a, b = pair(world, pick)
    text = f"Does {name(a)} show more than {name(b)}?"
    tags = IMAGE_TAG * len(world)
    question = f"{tags}\n{text}" if tags_first else f"{text}\n{tags}"
    sample = build(question, tuple(world), "yes" if world[a] > world[b] else "no", "invariant")
    check(sample, lambda rendered: compare(rendered, pattern), pattern)


@given(worlds, st.booleans())
@settings(derandomize=True, max_examples=12, deadline=None)
def test_left_and_right_stay_true(values: list[int], swapped: bool) -> None:
    name, pattern = SIDES
    text = f"{name(swapped)} shows more than {name(not swapped)}."
    world = tuple(values[:2])
    answer = "yes" if world[swapped] > world[not swapped] else "no"
    sample = build(f"{IMAGE_TAG * 2} True? {text}", world, answer, "invariant")
    check(sample, lambda rendered: compare(rendered, pattern), pattern)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds)
@settings(derandomize=True, max_examples=3, deadline=None)
def test_text_options_that_name_images_keep_their_letter(
    style: str, count: int, world: list[int]
) -> None:
    world = world[:count]
    name, pattern = STYLES[style]
    options = [f"({letter}) {name(i)}" for i, letter in enumerate("ABCDE"[: len(world)])]
    question = f"{IMAGE_TAG * len(world)}\nWhat shows the most?\n" + "\n".join(options)

    def solve(rendered: RenderedOrder) -> str:
        values = shown(rendered)
        named = [slot_named(token) for token in re.findall(pattern, rendered.question)]
        return "ABCDE"[named.index(values.index(max(values)))]

    answer = "ABCDE"[world.index(max(world))]
    check(build(question, tuple(world), answer, "invariant"), solve, pattern)


LABELS = {
    "A.": lambda i: f"{'ABCDE'[i]}. ",
    "(A)": lambda i: f"({'ABCDE'[i]}) ",
    "Option A:": lambda i: f"Option {'ABCDE'[i]}: ",
    "none": lambda i: "",
}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("count", COUNTS)
@given(worlds)
@settings(derandomize=True, max_examples=3, deadline=None)
def test_the_letter_of_an_option_image_follows_it(
    label: str, reference: bool, count: int, world: list[int]
) -> None:
    world = world[:count]
    options = "\n".join(LABELS[label](i) + IMAGE_TAG for i in range(len(world)))
    head = f"Like {IMAGE_TAG}, w" if reference else "W"
    values = (0, *world) if reference else tuple(world)
    sample = build(
        f"{head}hich shows the most? Answer with its letter.\n{options}",
        values,
        "ABCDE"[world.index(max(world))],
        "letter",
        (0,) if reference else (),
    )

    def solve(rendered: RenderedOrder) -> str:
        seen = shown(rendered)[len(sample.fixed) :]
        return "ABCDE"[seen.index(max(seen))]

    check(sample, solve)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.integers(0, 19))
@settings(derandomize=True, max_examples=3, deadline=None)
def test_a_place_follows_its_image_beside_a_named_one(
    style: str, count: int, world: list[int], pick: int
) -> None:
    world = world[:count]
    name, pattern = STYLES[style]
    a, _ = pair(world, pick)
    text = f"Apart from {name(a)}, what shows the most?"

    def place(values: list[int], question: str) -> str:
        (token,) = re.findall(pattern, question)
        others = [value for i, value in enumerate(values) if i != slot_named(token)]
        return WORDS[values.index(max(others))]

    question = f"{IMAGE_TAG * len(world)} {text}"
    sample = build(question, tuple(world), place(world, question), "position")
    check(sample, lambda rendered: place(shown(rendered), rendered.question), pattern)


SEQUENCES: dict[str, Callable[[list[int]], str]] = {
    "1, 2": lambda slots: ", ".join(str(i + 1) for i in slots),
    "1-2": lambda slots: "-".join(str(i + 1) for i in slots),
    "12": lambda slots: "".join(str(i + 1) for i in slots),
    "first, second": lambda slots: ", ".join(WORDS[i] for i in slots),
    "A, B": lambda slots: ", ".join("ABCDE"[i] for i in slots),
    "AB": lambda slots: "".join("ABCDE"[i] for i in slots),
    "Image 1 -> Image 2": lambda slots: " -> ".join(f"Image {i + 1}" for i in slots),
}


@pytest.mark.parametrize("style", SEQUENCES)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds)
@settings(derandomize=True, max_examples=3, deadline=None)
def test_an_order_to_recover_follows_its_images(style: str, count: int, world: list[int]) -> None:
    world = world[:count]

    def solve(values: list[int]) -> str:
        return SEQUENCES[style](sorted(range(len(values)), key=lambda slot: values[slot]))

    question = f"{IMAGE_TAG * len(world)}\nArrange them from the least to the most."
    check(build(question, tuple(world), solve(world), "order"), lambda seen: solve(shown(seen)))


@pytest.mark.parametrize("count", COUNTS)
@given(worlds)
@settings(derandomize=True, max_examples=3, deadline=None)
def test_options_that_list_orders_keep_their_letter(count: int, world: list[int]) -> None:
    world = world[:count]
    slots = range(len(world))
    rising = sorted(slots, key=lambda slot: world[slot])
    listed = [rising[::-1], rising]
    lines = [f"{'AB'[i]}. " + "-".join(str(s + 1) for s in one) for i, one in enumerate(listed)]
    question = f"{IMAGE_TAG * len(world)}\nWhat is the rising order?\n" + "\n".join(lines)

    def solve(rendered: RenderedOrder) -> str:
        values = shown(rendered)
        for letter, line in re.findall(r"([AB])\. ([\d-]+)", rendered.question):
            seen = [values[int(digit) - 1] for digit in line.split("-")]
            if seen == sorted(seen):
                return str(letter)
        return ""

    check(build(question, tuple(world), "B", "invariant"), solve, r"\d(?:-\d)+")
