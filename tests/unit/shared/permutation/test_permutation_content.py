"""For every rule, a solver that knows only what the images show is right under every order.

``test_permutation_kinds.py`` has the rarer kinds of names, labels and answers.
"""

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.permutation import RenderedOrder
from shared.sample import IMAGE_TAG
from tests.unit.shared.permutation.content_world import (
    COUNTS,
    NUMERALS,
    WORDS,
    build,
    check,
    compare,
    pair,
    shown,
    slot_named,
    worlds,
)

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
