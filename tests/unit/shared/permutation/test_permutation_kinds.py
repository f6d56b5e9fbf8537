"""Every kind of name, list, label, fixed image, option and answer stays true under every order.

Continues ``test_permutation_content.py``; `test_every_style_of_name_is_met` checks that both files
together have every style that the engine can spell.
"""

import itertools
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.permutation import RenderedOrder, names, read
from shared.sample import IMAGE_TAG
from tests.unit.shared.permutation.content_world import (
    CIRCLED,
    COUNTS,
    NUMERALS,
    WORDS,
    build,
    check,
    compare,
    fixed_sets,
    pair,
    shown,
    slot_named,
    worlds,
)
from tests.unit.shared.permutation.test_permutation_content import STYLES

CARDINALS = ("one", "two", "three", "four", "five")
NTH = ("1st", "2nd", "3rd", "4th", "5th")
LETTERS = "ABCDE"

few = settings(derandomize=True, max_examples=3, deadline=None)
Spelling = Callable[[int], str]


def tags(count: int) -> str:
    return IMAGE_TAG * count


def yes(value: bool) -> str:
    return "yes" if value else "no"


# Names in the middle of a sentence: how slot i is named, and the pattern of the token in it.
NAMES: dict[str, tuple[Spelling, str]] = {
    "image two": (lambda i: f"image {CARDINALS[i]}", rf"image ({'|'.join(CARDINALS)})"),
    "image_2": (lambda i: f"image_{i + 1}", r"image_(\d)"),
    "image-2": (lambda i: f"image-{i + 1}", r"image-(\d)"),
    "Image no. 2": (lambda i: f"Image no. {i + 1}", r"Image no\. (\d)"),
    "Image number 2": (lambda i: f"Image number {i + 1}", r"Image number (\d)"),
    "(photo 2)": (lambda i: f"(photo {i + 1})", r"\(photo (\d)\)"),
    "Figure 2(a)": (lambda i: f"point P of Figure {i + 1}(a)", r"Figure (\d)\(a\)"),
    "THE SECOND IMAGE": (lambda i: f"THE {WORDS[i].upper()} IMAGE", r"THE ([A-Z]+) IMAGE"),
    "Second input picture": (
        lambda i: f"the {WORDS[i].capitalize()} input picture",
        r"the (\w+) input picture",
    ),
    "图②": (lambda i: f"图{CIRCLED[i]}", rf"图([{CIRCLED}])"),
    "第2张图片": (lambda i: f"第{i + 1}张图片", r"第(\d)张图片"),
    "照片2": (lambda i: f"照片{i + 1}", r"照片(\d)"),
}


@pytest.mark.parametrize("style", NAMES)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.integers(0, 19))
@few
def test_rarer_names_follow_their_images(
    style: str, count: int, world: list[int], pick: int
) -> None:
    world = world[:count]
    name, pattern = NAMES[style]
    a, b = pair(world, pick)
    question = f"{tags(count)}\nDoes {name(a)} show more than {name(b)}?"
    sample = build(question, tuple(world), yes(world[a] > world[b]), "invariant")
    check(sample, lambda rendered: compare(rendered, pattern), pattern)


@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.integers(0, 19))
@few
def test_a_place_of_so_many_images_follows_its_image(
    count: int, world: list[int], pick: int
) -> None:
    world = world[:count]
    a, b = pair(world, pick)
    pattern = rf"the ({'|'.join(WORDS)}) of these \w+ images"
    first, second = (f"the {WORDS[i]} of these {CARDINALS[count - 1]} images" for i in (a, b))
    question = f"{tags(count)}\nDoes {first} show more than {second}?"
    sample = build(question, tuple(world), yes(world[a] > world[b]), "invariant")
    check(sample, lambda rendered: compare(rendered, pattern), pattern)


def photo(slot: int) -> str:
    return f"the {WORDS[slot]} photo"


# "Last" and "middle" become ordinals in other places: the phrase, its place, the number of images,
# another name to compare with, and the pattern of both.
ENDS: dict[str, tuple[str, Callable[[int], int], Spelling, str]] = {
    "last": ("the last photo", lambda count: count - 1, photo, r"the (\w+) photo"),
    "middle": ("the middle photo", lambda count: count // 2, photo, r"the (\w+) photo"),
    "最后一": (
        "最后一张图",
        lambda count: count - 1,
        lambda i: f"第{NUMERALS[i]}张图",
        rf"(最后一|第[{NUMERALS}])张图",
    ),
}


@pytest.mark.parametrize("style", ENDS)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.integers(0, 19))
@few
def test_last_and_middle_follow_their_images(
    style: str, count: int, world: list[int], pick: int
) -> None:
    if style == "middle" and count % 2 == 0:
        return
    world = world[:count]
    phrase, place, other, pattern = ENDS[style]
    a = place(count)
    b = (a + 1 + pick % (count - 1)) % count
    question = f"{tags(count)}\nDoes {phrase} show more than {other(b)}?"
    sample = build(question, tuple(world), yes(world[a] > world[b]), "invariant")

    def solve(rendered: RenderedOrder) -> str:
        values, slots = shown(rendered), []
        for token in re.findall(pattern, rendered.question):
            ends = {"last": count - 1, "最后一": count - 1, "middle": count // 2}
            slots.append(ends[token] if token in ends else slot_named(token.removeprefix("第")))
        return yes(values[slots[0]] > values[slots[1]])

    check(sample, solve, pattern, spelled_back=False)


# Two images: left and right, with a noun or after one in the same sentence.
SIDES: dict[str, tuple[Callable[[str, str], str], tuple[str, str]]] = {
    "both with a noun": (lambda a, b: f"Is the {a} image above the {b} image?", ("left", "right")),
    "hand": (lambda a, b: f"Is the {a}-hand photo above the {b}-hand photo?", ("left", "right")),
    "most": (
        lambda a, b: f"Is the {a} picture above the {b} picture?",
        ("leftmost", "rightmost"),
    ),
    "on the side": (
        lambda a, b: f"Is the image on the {a} above the image on the {b}?",
        ("left", "right"),
    ),
    "pronoun": (lambda a, b: f"Is the {a} image above the {b}?", ("left", "right")),
    "the one": (lambda a, b: f"Is the {a} image above the {b} one?", ("left", "right")),
    "the one on": (lambda a, b: f"Is the {a} image above the one on the {b}?", ("left", "right")),
    "joined": (lambda a, b: f"Do the {a} and {b} images fall in value?", ("left", "right")),
    "capitals": (lambda a, b: f"{a} image above {b} image?", ("Left", "Right")),
    "图": (lambda a, b: f"{a}图比{b}图大吗？", ("左", "右")),
    "边的图": (lambda a, b: f"{a}边的图片比{b}侧的那张图大吗？", ("左", "右")),
}


@pytest.mark.parametrize("form", SIDES)
@given(worlds, st.booleans())
@settings(derandomize=True, max_examples=6, deadline=None)
def test_every_way_to_say_left_and_right_stays_true(
    form: str, world: list[int], swapped: bool
) -> None:
    write, words = SIDES[form]
    names = words[::-1] if swapped else words
    a, b = (words.index(one) for one in names)
    pattern = "(" + "|".join(words) + ")"
    sample = build(
        f"{tags(2)}\n{write(*names)}", tuple(world[:2]), yes(world[a] > world[b]), "invariant"
    )
    check(sample, lambda rendered: compare(rendered, pattern), pattern)


# Lists of names: how they are written, and the pattern of a name in them.
LISTS: dict[str, tuple[Callable[[list[int]], str], str]] = {
    "images 1, 2 and 3": (
        lambda slots: "images " + _joined([str(i + 1) for i in slots], ", ", " and "),
        r"\b[1-5]\b",
    ),
    "images 1, 2, or 3": (
        lambda slots: "images " + _joined([str(i + 1) for i in slots], ", ", ", or "),
        r"\b[1-5]\b",
    ),
    "Figs. 1 & 2": (
        lambda slots: "Figs. " + _joined([str(i + 1) for i in slots], ", ", " & "),
        r"\b[1-5]\b",
    ),
    "Fig. 1, 2 & 3": (
        lambda slots: "Fig. " + _joined([str(i + 1) for i in slots], ", ", " & "),
        r"\b[1-5]\b",
    ),
    "image 1, 2 and 3": (
        lambda slots: "image " + _joined([str(i + 1) for i in slots], ", ", " and "),
        r"\b[1-5]\b",
    ),
    "images 1/2/3": (
        lambda slots: "images " + "/".join(str(i + 1) for i in slots),
        r"\b[1-5]\b",
    ),
    "images one, two and three": (
        lambda slots: "images " + _joined([CARDINALS[i] for i in slots], ", ", " and "),
        "|".join(CARDINALS),
    ),
    "Images A and B": (
        lambda slots: "Images " + _joined([LETTERS[i] for i in slots], ", ", " and "),
        r"\b[A-E]\b",
    ),
    "image 1 and image 2": (
        lambda slots: _joined([f"image {i + 1}" for i in slots], ", ", " and "),
        r"\b[1-5]\b",
    ),
    "the first and third images": (
        lambda slots: "the " + _joined([WORDS[i] for i in slots], ", ", " and ") + " images",
        "|".join(WORDS),
    ),
    "the 1st, the 2nd images": (
        lambda slots: "the " + _joined([NTH[i] for i in slots], ", the ", " and the ") + " images",
        "|".join(NTH),
    ),
    "图1、2和3": (
        lambda slots: "图" + _joined([str(i + 1) for i in slots], "、", "和"),
        r"[1-5]",
    ),
    "图一与二": (
        lambda slots: "图" + _joined([NUMERALS[i] for i in slots], "、", "与"),
        rf"[{NUMERALS}]",
    ),
}


def _joined(parts: list[str], comma: str, last: str) -> str:
    return comma.join(parts[:-1]) + last + parts[-1]


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.permutations(range(5)), st.integers(2, 4))
@few
def test_lists_of_names_follow_their_images(
    form: str, count: int, world: list[int], mixed: list[int], length: int
) -> None:
    world, named = world[:count], [slot for slot in mixed if slot < count][:length]
    write, pattern = LISTS[form]
    # The image named first counts ten times, so that the order in the list matters too.
    question = (
        f"{tags(count)}\nAdd up what {write(named)} show, tenfold for what is mentioned earliest."
    )

    def total(values: list[int], slots: list[int]) -> str:
        return str(9 * values[slots[0]] + sum(values[slot] for slot in slots))

    def solve(rendered: RenderedOrder) -> str:
        phrase = rendered.question.split("what ")[1].split(" show")[0]
        return total(shown(rendered), [slot_named(one) for one in re.findall(pattern, phrase)])

    check(build(question, tuple(world), total(world, named), "invariant"), solve, pattern)


PRONOUNS: dict[str, Callable[[str, str], str]] = {
    "the second": lambda a, b: f"Does the {a} image show more than the {b}?",
    "the second one": lambda a, b: f"Does the {a} picture show more than the {b} one?",
    "before a verb": lambda a, b: f"In the {a} image is more, and the {b} shows less. Right?",
}


@pytest.mark.parametrize("form", PRONOUNS)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.integers(0, 19))
@few
def test_a_place_that_leans_on_a_named_one_follows_its_image(
    form: str, count: int, world: list[int], pick: int
) -> None:
    world = world[:count]
    a, b = pair(world, pick)
    pattern = "(" + "|".join(WORDS) + ")"
    question = f"{tags(count)}\n{PRONOUNS[form](WORDS[a], WORDS[b])}"
    sample = build(question, tuple(world), yes(world[a] > world[b]), "invariant")
    check(sample, lambda rendered: compare(rendered, pattern), pattern)


# All images, whatever their order: nothing moves in the text.
WHOLE: dict[str, Callable[[int], str]] = {
    "range": lambda count: f"images 1-{count}",
    "to": lambda count: f"images 1 to {count}",
    "letters": lambda count: f"images A-{LETTERS[count - 1]}",
    "the first n": lambda count: f"the first {CARDINALS[count - 1]} images",
    "the last n": lambda count: f"the last {count} images",
    "plain": lambda count: f"all {count} images",
}


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds)
@few
def test_names_of_all_images_stay(form: str, count: int, world: list[int]) -> None:
    values = tuple(world[:count])
    question = f"{tags(count)}\nWhat is the sum over {WHOLE[form](count)}?"
    sample = build(question, values, str(sum(values)), "invariant")
    check(sample, lambda rendered: str(sum(shown(rendered))))


# Labels: how a label is written around a tag, how a sentence names it, and its tokens.
LABELS: dict[str, tuple[str, str, str]] = {
    "Image 1:": ("Image {}: <image>\n", "Image {}", "12345"),
    "Figure (1)": ("Figure ({}) <image>\n", "Figure {}", "12345"),
    "Panel A:": ("Panel {}: <image> ", "panel {}", LETTERS),
    "(A)": ("({}) <image>\n", "image {}", LETTERS),
    "A.": ("{}. <image>\n", "option {}", LETTERS),
    "Candidate A:": ("Candidate {}: <image>\n", "candidate {}", LETTERS),
    "Option 1:": ("Option {}: <image>\n", "option {}", "12345"),
    "View 1:": ("View {}: <image> ", "view {}", "12345"),
    "behind": ("<image>\nFigure {}\n", "Figure {}", "12345"),
    "图1：": ("图{}：<image>\n", "图{}", "12345"),
    "图一：": ("图{}：<image>\n", "图{}", NUMERALS),
}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.integers(0, 19), st.permutations(range(5)), st.booleans())
@few
def test_labels_stay_and_names_go_by_them(
    label: str, count: int, world: list[int], pick: int, mixed: list[int], in_order: bool
) -> None:
    world = world[:count]
    written, named, tokens = LABELS[label]
    labelled = [tokens[i] for i in (range(count) if in_order else [m for m in mixed if m < count])]
    a, b = pair(world, pick)
    head = "".join(written.format(token) for token in labelled)
    text = f"Is {named.format(labelled[a])} above {named.format(labelled[b])}?"
    sample = build(f"{head}\n{text}", tuple(world), yes(world[a] > world[b]), "invariant")
    pattern = rf"(?<={named[:-2]})[{tokens}](?= above|\?)"

    def solve(rendered: RenderedOrder) -> str:
        assert rendered.question.startswith(head), "labels stay"
        first, second = re.findall(pattern, rendered.question)
        values = shown(rendered)
        return yes(values[labelled.index(first)] > values[labelled.index(second)])

    check(sample, solve, pattern)


@pytest.mark.parametrize("count", (3, 4, 5))
@given(worlds, st.integers(0, 19))
@few
def test_labels_beside_a_reference_without_one(count: int, world: list[int], pick: int) -> None:
    # "Image 1" is the second image.
    world = world[:count]
    options = list(range(1, count))
    a, b = pair(options, pick)
    head = f"Reference {IMAGE_TAG}" + "".join(f" Image {i}: {IMAGE_TAG}" for i in options)
    question = f"{head}\nDoes Image {a + 1} show more than Image {b + 1}?"
    answer = yes(world[options[a]] > world[options[b]])

    def solve(rendered: RenderedOrder) -> str:
        asked = rendered.question.split("\n")[1]
        first, second = (int(one) for one in re.findall(r"Image (\d)", asked))
        return yes(shown(rendered)[first] > shown(rendered)[second])

    check(
        build(question, tuple(world), answer, "invariant", (0,)),
        solve,
        r"(?<=e)s? Image \d|(?<=than )Image \d",
    )


@pytest.mark.parametrize(
    ("count", "fixed"), [(count, fixed) for count in COUNTS for fixed in fixed_sets(count)]
)
@given(worlds, st.integers(0, 19), st.sampled_from(["image", "ordinal", "图"]))
@few
def test_fixed_images_keep_image_and_name(
    count: int, fixed: tuple[int, ...], world: list[int], pick: int, style: str
) -> None:
    world = world[:count]
    spell, pattern = {
        "image": (lambda i: f"image {i + 1}", r"image (\d)"),
        "ordinal": (lambda i: f"the {WORDS[i]} photo", r"the (\w+) photo"),
        "图": (lambda i: f"图{i + 1}", r"图(\d)"),
    }[style]
    a, b = pair(world, pick)
    question = f"{tags(count)}\nDoes {spell(a)} show more than {spell(b)}?"
    sample = build(question, tuple(world), yes(world[a] > world[b]), "invariant", fixed)

    def solve(rendered: RenderedOrder) -> str:
        assert all(rendered.images[slot] == sample.images[slot] for slot in fixed)
        named = [slot_named(one) for one in re.findall(pattern, rendered.question)]
        assert all((one in fixed) == (was in fixed) for one, was in zip(named, (a, b), strict=True))
        return compare(rendered, pattern)

    check(sample, solve, pattern)


# How an answer names the image in a slot.
POSITIONS: dict[str, Spelling] = {
    "first": lambda i: WORDS[i],
    "First": lambda i: WORDS[i].capitalize(),
    "1st": lambda i: NTH[i],
    "1": lambda i: str(i + 1),
    "Image 1": lambda i: f"Image {i + 1}",
    "the first image.": lambda i: f"the {WORDS[i]} image.",
    "图1": lambda i: f"图{i + 1}",
    "图一": lambda i: f"图{NUMERALS[i]}",
    "第一张图": lambda i: f"第{NUMERALS[i]}张图",
}
SIDE_ANSWERS: dict[str, tuple[str, str]] = {
    "left": ("left", "right"),
    "Left image": ("Left image", "Right image"),
    "leftmost": ("leftmost", "rightmost"),
    "左": ("左图", "右图"),
}


@pytest.mark.parametrize("style", POSITIONS)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.data())
@few
def test_a_position_is_answered_in_its_own_style(
    style: str, count: int, world: list[int], data: st.DataObject
) -> None:
    world = world[:count]
    fixed = data.draw(st.sampled_from(list(fixed_sets(count))))

    def answer(values: list[int]) -> str:
        return POSITIONS[style](values.index(max(values)))

    question = f"{tags(count)}\nWhich image shows the most?"
    sample = build(question, tuple(world), answer(world), "position", fixed)
    check(sample, lambda rendered: answer(shown(rendered)))


@pytest.mark.parametrize("style", SIDE_ANSWERS)
@given(worlds)
@few
def test_a_side_is_answered_in_its_own_style(style: str, world: list[int]) -> None:
    def answer(values: list[int]) -> str:
        return SIDE_ANSWERS[style][values.index(max(values))]

    question = f"{tags(2)}\nOn which side is the larger number?"
    sample = build(question, tuple(world[:2]), answer(world[:2]), "position")
    check(sample, lambda rendered: answer(shown(rendered)))


LETTER_ANSWERS: dict[str, Spelling] = {
    "A": lambda i: LETTERS[i],
    "(A)": lambda i: f"({LETTERS[i]})",
    "a": lambda i: LETTERS[i].lower(),
    "A.": lambda i: f"{LETTERS[i]}.",
    "Option A": lambda i: f"Option {LETTERS[i]}",
}


@pytest.mark.parametrize("style", LETTER_ANSWERS)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.data())
@few
def test_a_letter_is_answered_in_its_own_style(
    style: str, count: int, world: list[int], data: st.DataObject
) -> None:
    # The options are the images that move, lettered in order, wherever the fixed images are.
    world = world[:count]
    fixed = data.draw(st.sampled_from(list(fixed_sets(count))))

    def answer(values: list[int]) -> str:
        options = [value for slot, value in enumerate(values) if slot not in fixed]
        return LETTER_ANSWERS[style](options.index(max(options)))

    question = f"{tags(count)}\nWhich option shows the most?"
    sample = build(question, tuple(world), answer(world), "letter", fixed)
    check(sample, lambda rendered: answer(shown(rendered)))


@pytest.mark.parametrize("style", ["the first image", "Image 1", "图1"])
@pytest.mark.parametrize("count", COUNTS)
@given(worlds)
@few
def test_options_that_name_their_own_images_stay(style: str, count: int, world: list[int]) -> None:
    # "A. the first image": the letter follows the image, and the options stay the same.
    world, spell = world[:count], POSITIONS.get(style, lambda i: f"the {WORDS[i]} image")
    lines = "\n".join(f"{LETTERS[i]}. {spell(i)}" for i in range(count))

    def answer(values: list[int]) -> str:
        return LETTERS[values.index(max(values))]

    question = f"{tags(count)}\nWhich one shows the most?\n{lines}"
    sample = build(question, tuple(world), answer(world), "letter")
    check(sample, lambda rendered: answer(shown(rendered)))


SEQUENCES: dict[str, Callable[[list[int]], str]] = {
    "1 -> 2": lambda slots: " -> ".join(str(i + 1) for i in slots),
    "1 < 2": lambda slots: " < ".join(str(i + 1) for i in slots),
    "[1, 2]": lambda slots: "[" + ", ".join(str(i + 1) for i in slots) + "]",
    "1st, 2nd": lambda slots: ", ".join(NTH[i] for i in slots),
    "a, b": lambda slots: ", ".join(LETTERS[i].lower() for i in slots),
    "(A), (B)": lambda slots: " ".join(f"({LETTERS[i]})" for i in slots),
    "A; B": lambda slots: "; ".join(LETTERS[i] for i in slots),
    "一、二": lambda slots: "、".join(NUMERALS[i] for i in slots),
    "图1，图2": lambda slots: "，".join(f"图{i + 1}" for i in slots),
    "1, 2 and 3": lambda slots: _joined([str(i + 1) for i in slots], ", ", " and "),
}


@pytest.mark.parametrize("style", SEQUENCES)
@pytest.mark.parametrize("count", COUNTS)
@given(worlds)
@few
def test_an_order_is_answered_in_its_own_style(style: str, count: int, world: list[int]) -> None:
    world = world[:count]

    def answer(values: list[int]) -> str:
        return SEQUENCES[style](sorted(range(count), key=lambda slot: values[slot]))

    question = f"{tags(count)}\nSort them by value."
    if style in ("(A), (B)", "A; B"):
        question = "".join(f"{LETTERS[i]}. {IMAGE_TAG}\n" for i in range(count)) + "Sort them."
    sample = build(question, tuple(world), answer(world), "order")
    check(sample, lambda rendered: answer(shown(rendered)))


@pytest.mark.parametrize("count", (3, 4, 5))
@given(worlds, st.data())
@few
def test_an_order_of_the_images_that_move(
    count: int, world: list[int], data: st.DataObject
) -> None:
    # Fixed ones (an example) are not part of the order; letters count the others.
    world = world[:count]
    fixed = data.draw(st.sampled_from([one for one in fixed_sets(count) if one]))

    def answer(values: list[int]) -> str:
        options = [value for slot, value in enumerate(values) if slot not in fixed]
        return ", ".join(
            LETTERS[i] for i in sorted(range(len(options)), key=lambda place: options[place])
        )

    question = f"{tags(count)}\nSort the options by value."
    sample = build(question, tuple(world), answer(world), "order", fixed)
    check(sample, lambda rendered: answer(shown(rendered)))


LISTED: dict[str, tuple[Callable[[list[int]], str], str]] = {
    "1, 2": (lambda slots: ", ".join(str(i + 1) for i in slots), r"\d"),
    "first, second": (lambda slots: ", ".join(WORDS[i] for i in slots), "|".join(WORDS)),
    "Image 1 -> Image 2": (lambda slots: " -> ".join(f"Image {i + 1}" for i in slots), r"\d"),
    "图1、图2": (lambda slots: "、".join(f"图{i + 1}" for i in slots), r"\d"),
}


@pytest.mark.parametrize("style", LISTED)
@pytest.mark.parametrize("count", (3, 4, 5))
@given(worlds, st.booleans())
@few
def test_options_that_list_orders_are_rewritten(
    style: str, count: int, world: list[int], second: bool
) -> None:
    world, (write, pattern) = world[:count], LISTED[style]
    rising = sorted(range(count), key=lambda slot: world[slot])
    listed = [rising[::-1], rising] if second else [rising, rising[::-1]]
    lines = [f"({letter}) {write(one)}" for letter, one in zip("AB", listed, strict=True)]
    question = f"{tags(count)}\nWhat is the correct order?\n" + "\n".join(lines)

    def solve(rendered: RenderedOrder) -> str:
        values = shown(rendered)
        for letter, line in re.findall(r"\(([AB])\) (.*)", rendered.question):
            seen = [values[slot_named(one)] for one in re.findall(pattern, line)]
            if seen == sorted(seen):
                return str(letter)
        return ""

    check(build(question, tuple(world), "AB"[second], "invariant"), solve, pattern)


def test_every_style_of_name_is_met() -> None:
    """The tables of this file and the other one have every style that the engine can spell."""
    spelled = [spell(1) for spell, _ in (*STYLES.values(), *NAMES.values())]
    spelled += [phrase for phrase, *_ in ENDS.values()]
    asked = [f"{tags(3)}\nIs {one} red?" for one in spelled]
    asked += [f"{tags(2)}\n{write(*words)}" for write, words in SIDES.values()]
    found = {
        atom.name.style
        for question in asked
        for atom in read(
            build(question, (1, 2, 3)[: question.count(IMAGE_TAG)], "x", "invariant")
        ).atoms
    }
    special = {"number", "nth", "last", "middle", "chinese last"}
    assert found == {*names._VOCABULARY, *special}


NEUTRAL = (
    "Is it the first time?",
    "Look at the left side of the scene.",
    "There are 2 colours.",
    "First, count.",
    "All pictures are of numbers.",
)
MIXED = ("image 1", "the first photo", "the 1st picture", "图1", "第一张图")
CLAIMS: dict[str, tuple[Spelling, str]] = {
    "image 1": (lambda i: f"image {i + 1}", r"image (\d)"),
    "the first photo": (lambda i: f"the {WORDS[i]} photo", rf"the ({'|'.join(WORDS)}) photo"),
    "the 1st picture": (lambda i: f"the {NTH[i]} picture", rf"the ({'|'.join(NTH)}) picture"),
    "图1": (lambda i: f"图{i + 1}", r"图(\d)"),
    "第一张图": (lambda i: f"第{NUMERALS[i]}张图", rf"第([{NUMERALS}])张图"),
}


@pytest.mark.parametrize("count", COUNTS)
@given(worlds, st.data())
@settings(derandomize=True, max_examples=15, deadline=None)
def test_a_text_of_many_claims_stays_true_in_each(
    count: int, world: list[int], data: st.DataObject
) -> None:
    world = world[:count]
    lines: list[str] = []
    for number in range(data.draw(st.integers(1, 4))):
        (a, _), (b, _) = (CLAIMS[data.draw(st.sampled_from(MIXED))] for _ in range(2))
        one, two = pair(world, data.draw(st.integers(0, 19)))
        lines.append(data.draw(st.sampled_from(NEUTRAL)))
        lines.append(f"Claim {number}: {a(one)} is above {b(two)}.")
    pattern = "|".join(found.replace("(", "(?:") for _, found in CLAIMS.values())

    def truths(question: str, values: list[int]) -> str:
        found = []
        for claim in re.findall(r"Claim \d: (.*)\.", question):
            slots = [_claimed(half) for half in claim.split(" is above ")]
            found.append(yes(values[slots[0]] > values[slots[1]]))
        return ", ".join(found)

    question = f"{tags(count)}\n" + "\n".join(lines)
    sample = build(question, tuple(world), truths(question, world), "invariant")
    check(sample, lambda rendered: truths(rendered.question, shown(rendered)), pattern)


def _claimed(half: str) -> int:
    (token,) = itertools.chain(*(re.findall(pattern, half) for _, pattern in CLAIMS.values()))
    return slot_named(token)
