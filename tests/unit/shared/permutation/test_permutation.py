"""Orders of images: all orders, how they are drawn, and that answers move with the images."""

import itertools
import random
from collections import Counter
from math import factorial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from shared.permutation import (
    ORDINALS,
    Permutation,
    RenderedOrder,
    all_orders,
    answer_in_original,
    answer_under,
    apply_order,
    cyclic_orders,
    draw_orders,
    gold_slot,
    identity,
    number_of_orders,
    refusal,
)
from shared.sample import IMAGE_TAG, OrderRule, Sample
from shared.seeds import generator

COUNTS = (2, 3, 4)


def every_order(count: int) -> list[Permutation]:
    return list(itertools.permutations(range(count)))


def values(images: tuple[str, ...]) -> list[int]:
    """What the images show: an image named "7.png" shows a seven."""
    return [int(image.split(".")[0]) for image in images]


# Solvers that see only the rendered question: its text, and its images in slot order.


def solve_options(shown: RenderedOrder) -> str:
    """The label before the slot that shows the largest value."""
    pieces = shown.question.split(IMAGE_TAG)
    labels = [piece.strip().split()[-1].rstrip(".") for piece in pieces[:-1]]
    lettered = {
        label: value
        for label, value in zip(labels, values(shown.images), strict=True)
        if len(label) == 1
    }
    return max(lettered, key=lambda label: lettered[label])


def solve_place(shown: RenderedOrder) -> int:
    """The index of the slot with the largest value."""
    shown_values = values(shown.images)
    return shown_values.index(max(shown_values))


def solve_sum(shown: RenderedOrder) -> str:
    return str(sum(values(shown.images)))


def option_sample(shown: tuple[int, ...], lower: bool = False) -> Sample:
    letters = "abcd" if lower else "ABCD"
    options = "".join(f"\n{letters[i]}. {IMAGE_TAG}" for i in range(len(shown)))
    return Sample(
        id="option",
        question=f"Which option shows the largest digit?{options}",
        images=tuple(f"{value}.png" for value in shown),
        answer=letters[shown.index(max(shown))],
        kind="letter",
        order="letter",
    )


def place_sample(shown: tuple[int, ...], style: str) -> Sample:
    slot = shown.index(max(shown))
    answer = {"word": ORDINALS[slot], "Word": ORDINALS[slot].capitalize(), "digit": str(slot + 1)}
    return Sample(
        id="place",
        question=f"{IMAGE_TAG * len(shown)}\nWhich image shows the largest digit?",
        images=tuple(f"{value}.png" for value in shown),
        answer=answer[style],
        kind="position",
        order="position",
    )


def sum_sample(shown: tuple[int, ...]) -> Sample:
    return Sample(
        id="sum",
        question=f"{IMAGE_TAG * len(shown)}\nWhat is the sum of the digits?",
        images=tuple(f"{value}.png" for value in shown),
        answer=str(sum(shown)),
        kind="number",
        order="invariant",
    )


def reference_sample(shown: tuple[int, ...], fixed: tuple[int, ...]) -> Sample:
    """Options A, B, ... between reference images that do not move and have no letter."""
    letters = iter("ABCD")
    lines = [
        f"\nReference {IMAGE_TAG}" if slot in fixed else f"\n{next(letters)}. {IMAGE_TAG}"
        for slot in range(len(shown))
    ]
    options = [slot for slot in range(len(shown)) if slot not in fixed]
    largest = max(options, key=lambda slot: shown[slot])
    return Sample(
        id="reference",
        question="Which option shows the largest digit?" + "".join(lines),
        images=tuple(f"{value}.png" for value in shown),
        answer="ABCD"[options.index(largest)],
        kind="letter",
        order="letter",
        fixed=fixed,
    )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("lower", [False, True])
def test_letters_by_brute_force(count: int, lower: bool) -> None:
    for shown in every_order(count):
        sample = option_sample(shown, lower)
        assert refusal(sample) is None
        for permutation in every_order(count):
            rendered = apply_order(sample, permutation)
            assert rendered.answer == solve_options(rendered)
            assert answer_in_original(rendered.answer, sample, permutation) == sample.answer


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("style", ["word", "Word", "digit"])
def test_places_by_brute_force(count: int, style: str) -> None:
    for shown in every_order(count):
        sample = place_sample(shown, style)
        assert refusal(sample) is None
        for permutation in every_order(count):
            rendered = apply_order(sample, permutation)
            slot = solve_place(rendered)
            names = {
                "word": ORDINALS[slot],
                "Word": ORDINALS[slot].capitalize(),
                "digit": str(slot + 1),
            }
            assert rendered.answer == names[style]
            assert gold_slot(sample, permutation) == slot
            assert answer_in_original(rendered.answer, sample, permutation) == sample.answer


@pytest.mark.parametrize("count", COUNTS)
def test_invariant_answers_by_brute_force(count: int) -> None:
    for shown in every_order(count):
        sample = sum_sample(shown)
        assert refusal(sample) is None
        for permutation in every_order(count):
            rendered = apply_order(sample, permutation)
            assert rendered.answer == solve_sum(rendered) == sample.answer
            assert gold_slot(sample, permutation) is None


@pytest.mark.parametrize(
    ("count", "fixed"), [(3, (0,)), (3, (1,)), (4, (0,)), (4, (3,)), (4, (0, 2))]
)
def test_letters_beside_fixed_images_by_brute_force(count: int, fixed: tuple[int, ...]) -> None:
    for shown in every_order(count):
        sample = reference_sample(shown, fixed)
        assert refusal(sample) is None
        for permutation in all_orders(count, fixed):
            rendered = apply_order(sample, permutation)
            assert all(rendered.images[slot] == sample.images[slot] for slot in fixed)
            letters = rendered.question.replace("Reference ", "ref ")
            assert rendered.answer == solve_options(
                rendered.model_copy(update={"question": letters})
            )
            assert answer_in_original(rendered.answer, sample, permutation) == sample.answer


def test_images_move_and_the_text_stays() -> None:
    sample = option_sample((3, 1, 2))
    rendered = apply_order(sample, (2, 0, 1))
    assert rendered.images == ("2.png", "3.png", "1.png")
    assert rendered.question == sample.question
    assert (sample.answer, rendered.answer) == ("A", "B")
    assert rendered.permutation == (2, 0, 1)


@given(st.data())
def test_mapping_there_and_back_gives_the_same_answer(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 10))
    order: OrderRule = data.draw(st.sampled_from(("invariant", "letter", "position")))
    answer = data.draw(
        st.sampled_from((*"ABCDEFGHIJKaz159", "10", "11", "0", *ORDINALS, "Third", "cat", ""))
    )
    fixed = tuple(data.draw(st.sets(st.integers(0, count - 1))))
    movable = [index for index in range(count) if index not in fixed]
    moved = iter(data.draw(st.permutations(movable)))
    permutation = tuple(slot if slot in fixed else next(moved) for slot in range(count))
    sample = Sample(
        id="any",
        question=IMAGE_TAG * count,
        images=tuple(str(index) for index in range(count)),
        answer=answer,
        kind="text",
        order=order,
        fixed=fixed,
    )
    there = answer_under(answer, sample, permutation)
    assert answer_in_original(there, sample, permutation) == answer
    assert answer_under(answer, sample, identity(count)) == answer
    slot = gold_slot(sample, permutation)
    if slot is not None:
        # The right image is in the slot that the new answer names.
        was = gold_slot(sample, identity(count))
        assert was is not None and permutation[slot] == was
        moved_gold = sample.model_copy(update={"answer": there})
        assert gold_slot(moved_gold, identity(count)) == slot


@pytest.mark.parametrize("count", [*COUNTS, 5])
def test_all_orders_are_all_of_them_with_the_original_first(count: int) -> None:
    orders = all_orders(count)
    assert orders[0] == identity(count)
    assert sorted(orders) == every_order(count)
    assert number_of_orders(count) == len(orders) == factorial(count)


def test_fixed_images_stay_in_every_order() -> None:
    orders = all_orders(4, fixed=(1,))
    assert len(set(orders)) == len(orders) == number_of_orders(4, (1,)) == 6
    assert all(order[1] == 1 for order in orders)
    for seed in range(50):
        (drawn,) = draw_orders(9, 1, random.Random(seed), fixed=(0, 8))
        assert drawn[0] == 0 and drawn[8] == 8 and sorted(drawn) == list(range(9))


@given(st.integers(1, 9), st.integers(0, 12), st.integers(0, 10**9))
@settings(deadline=None)
def test_drawn_orders_differ_from_each_other_and_from_the_original(
    count: int, wanted: int, seed: int
) -> None:
    drawn = draw_orders(count, wanted, random.Random(seed))
    assert len(drawn) == min(wanted, factorial(count) - 1)
    assert len({*drawn, identity(count)}) == len(drawn) + 1
    assert all(sorted(order) == list(range(count)) for order in drawn)


def uniform_enough(counts: Counter[Permutation], outcomes: int) -> bool:
    """Pearson's chi-square test against the uniform distribution, at a level of 1 in 10,000."""
    expected = counts.total() / outcomes
    statistic = sum((number - expected) ** 2 / expected for number in counts.values())
    statistic += (outcomes - len(counts)) * expected
    return bool(statistic < chi2.ppf(1 - 1e-4, outcomes - 1))


@pytest.mark.parametrize("count", [3, 4])
def test_orders_are_uniform_over_seeds(count: int) -> None:
    outcomes = factorial(count) - 1
    draws = 400 * outcomes
    first: Counter[Permutation] = Counter()
    last: Counter[Permutation] = Counter()
    for seed in range(draws):
        drawn = draw_orders(count, 2, generator(seed, "sample", 0))
        first[drawn[0]] += 1
        last[drawn[-1]] += 1
    assert uniform_enough(first, outcomes)
    assert uniform_enough(last, outcomes)


def test_orders_of_many_images_are_uniform_over_seeds() -> None:
    # With more than 7 images orders are drawn, not listed: check where the first image goes.
    places: Counter[Permutation] = Counter()
    for seed in range(4000):
        (drawn,) = draw_orders(8, 1, generator(seed, "sample"))
        places[(drawn.index(0),)] += 1
    assert uniform_enough(places, 8)


def test_the_uniformity_test_can_fail() -> None:
    # The released code re-seeds with 42 for each sample: every group gets the same order.
    same = Counter(draw_orders(4, 1, random.Random(42))[0] for _ in range(2000))
    assert not uniform_enough(same, 23)
    skewed = Counter({(index,): 100 + 80 * (index == 0) for index in range(23)})
    assert not uniform_enough(skewed, 23)


def test_orders_vary_over_samples_and_epochs() -> None:
    drawn = {
        (sample, epoch): tuple(draw_orders(4, 3, generator(1, sample, epoch)))
        for sample in range(20)
        for epoch in range(3)
    }
    assert len(set(drawn.values())) > 50
    again = tuple(draw_orders(4, 3, generator(1, 7, 2)))
    assert drawn[7, 2] == again


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"order": None}, "no_order_rule"),
        ({"images": ("1.png",), "question": IMAGE_TAG}, "fewer_than_two_movable_images"),
        ({"images": (), "question": "What?"}, "fewer_than_two_movable_images"),
        ({"fixed": (0, 2)}, "fewer_than_two_movable_images"),
        ({"fixed": (0, 1, 2)}, "fewer_than_two_movable_images"),
        ({"order": "letter", "kind": "letter", "answer": "D"}, "answer_names_no_slot"),
        (
            {"order": "letter", "kind": "letter", "answer": "C", "fixed": (0,)},
            "answer_names_no_slot",
        ),
        ({"order": "letter", "kind": "letter", "answer": "cat"}, "answer_names_no_slot"),
        ({"order": "letter", "kind": "letter", "answer": "AB"}, "answer_names_no_slot"),
        ({"order": "position", "answer": "fourth"}, "answer_names_no_slot"),
        ({"order": "position", "answer": "0"}, "answer_names_no_slot"),
        ({"order": "position", "answer": "4"}, "answer_names_no_slot"),
        ({"order": "position", "answer": "A"}, "answer_names_no_slot"),
    ],
)
def test_refusals(changes: dict[str, object], reason: str) -> None:
    fields = sum_sample((1, 2, 3)).model_dump() | changes
    assert refusal(Sample.model_validate(fields)) == reason


@pytest.mark.parametrize(
    "text",
    [
        "What is the sum of the digits?",
        "How many images show a cat?",
        "Which image is the first choice of most people?",
        "Does any picture show the second floor?",
        "Are all images a photo of the same cat?",
        "Is each image a photo of a cat?",
    ],
)
def test_an_invariant_question_that_names_no_place_is_kept(text: str) -> None:
    sample = sum_sample((1, 2)).model_copy(update={"question": f"{IMAGE_TAG * 2} {text}"})
    assert refusal(sample) is None


def test_more_slots_than_names_are_refused() -> None:
    count = len(ORDINALS) + 1
    sample = place_sample(tuple(range(count, 0, -1)), "word")
    assert refusal(sample) == "answer_names_no_slot"
    assert refusal(place_sample(tuple(range(count, 0, -1)), "digit")) is None


def test_cyclic_orders_are_the_shifts_and_the_reversal() -> None:
    assert cyclic_orders(3) == [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    assert cyclic_orders(4, reverse=True)[-1] == (3, 2, 1, 0)
    # The reversal of two images is their shift, and comes once.
    assert cyclic_orders(2, reverse=True) == [(0, 1), (1, 0)]
    assert cyclic_orders(4, fixed=(0,)) == [(0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)]


@given(
    count=st.integers(1, 7),
    wanted=st.integers(0, 8),
    choice=st.sampled_from(["random", "cyclic", "cyclic_reverse"]),
    data=st.data(),
)
def test_drawn_orders_differ_and_leave_fixed_images(count, wanted, choice, data) -> None:
    fixed = tuple(data.draw(st.sets(st.integers(0, count - 1))))
    drawn = draw_orders(count, wanted, generator(0, "orders"), fixed, choice)
    assert len({identity(count), *drawn}) == len(drawn) + 1
    assert all(order[place] == place for order in drawn for place in fixed)
    if choice != "random":
        known = cyclic_orders(count, fixed, reverse=choice == "cyclic_reverse")
        assert set(drawn) <= set(known)
        assert len(drawn) == min(wanted, len(known) - 1)
