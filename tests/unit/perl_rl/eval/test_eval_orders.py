"""Flip rates of models whose behaviour is known are what arithmetic says, end to end."""

from collections.abc import Sequence
from dataclasses import replace
from math import factorial
from pathlib import Path
from random import Random

import pytest
from scipy.stats import binom

from perl_rl.eval.benchmarks import BENCHMARKS
from perl_rl.eval.items import Item
from perl_rl.eval.loading import load_items
from perl_rl.eval.models import Decoding
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.results import Result
from perl_rl.eval.robustness import OrderRobustness
from perl_rl.eval.run import Asking, evaluate
from tests.benchmark_files import WRITERS, write_benchmark
from tests.scripted_model import Answerer, ScriptedModel, at_random, by_content, by_position

DECODING = Decoding("", 64, temperature=1.0)


@pytest.fixture(scope="module")
def four_images(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Two hundred questions whose options are four images."""
    folder = tmp_path_factory.mktemp("mantis")
    data = write_benchmark("mantis-eval", folder / "data", 600)
    items = load_items(BENCHMARKS["mantis-eval"], data, Pictures(folder / "images"))
    return [item for item in items if len(item.sample.images) == 4]


@pytest.fixture(scope="module")
def blink(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    folder = tmp_path_factory.mktemp("blink")
    data = write_benchmark("blink", folder / "data", 140)
    return load_items(BENCHMARKS["blink"], data, Pictures(folder / "images"))


def run(name: str, items: Sequence[Item], answerer: Answerer, folder: Path, **more: int) -> Result:
    model, asking = ScriptedModel(answerer), Asking(DECODING, **more)
    return evaluate(BENCHMARKS[name], items, "scripted", model, asking, folder / "j.jsonl", {})


def orders(
    name: str, items: Sequence[Item], answerer: Answerer, folder: Path, **more: int
) -> OrderRobustness:
    found = run(name, items, answerer, folder, **more).robustness
    assert found is not None
    return found


def test_a_position_only_model_flips_on_every_item_asked_in_all_orders(
    four_images: list[Item], tmp_path: Path
) -> None:
    found = orders("mantis-eval", four_images[:30], by_position, tmp_path, orders=24)
    assert (found.items, found.answers, found.most_orders) == (30, 30 * 24, 24)
    assert found.accuracy.value == pytest.approx(1 / 4)
    assert (found.worst_case.value, found.flip_rate.value) == (0, 1)
    assert found.accuracy_by_slot == {0: 1.0, 1: 0.0, 2: 0.0, 3: 0.0}


PERMUTED = {"mantis-eval", "blink", "mmiu", "mv-math", "muirbench"}
"""Shapes with questions whose options are images."""


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_flips_on_every_shape_are_what_arithmetic_says(name: str, tmp_path: Path) -> None:
    data = write_benchmark(name, tmp_path / "data", 42)
    items = load_items(BENCHMARKS[name], data, Pictures(tmp_path / "images"))
    for model in (by_position, by_content):
        (tmp_path / model.__name__).mkdir()
    position = run(name, items, by_position, tmp_path / "by_position", orders=24)
    content = run(name, items, by_content, tmp_path / "by_content", orders=24)
    pairs = list(zip(items, content.items, strict=True))
    moved = [item.sample for item, result in pairs if result.excluded is None]
    # Mantis-Eval's padded questions have words in front of their last image.
    excluded = {result.excluded for _, result in pairs} - {None}
    assert excluded <= {"no_order_rule", "text_beside_an_image"}
    assert bool(moved) == (name in PERMUTED)
    if not moved:
        assert (position.robustness, content.robustness) == (None, None)
        return
    assert position.robustness is not None and content.robustness is not None
    # All orders of k options: A is right in one of k, never in all, and names each image once.
    options = [len(sample.images) - len(sample.fixed) for sample in moved]
    found = position.robustness
    assert found.answers == sum(factorial(count) for count in options)
    assert found.accuracy.value == pytest.approx(sum(1 / k for k in options) / len(options))
    assert (found.worst_case.value, found.flip_rate.value) == (0, 1)
    found = content.robustness
    assert (found.items, found.accuracy.value) == (len(moved), 1)
    assert (found.worst_case.value, found.flip_rate.value) == (1, 0)


def test_a_position_only_model_flips_when_another_image_comes_first(
    four_images: list[Item], tmp_path: Path
) -> None:
    result = run("mantis-eval", four_images, by_position, tmp_path, orders=2)
    first = [{answer.permutation[0] for answer in item.answers} for item in result.items]
    assert result.robustness is not None
    flips = result.robustness.flip_rate.value * len(four_images)
    assert flips == pytest.approx(sum(len(images) > 1 for images in first))
    # Of the 23 other orders of four images, 5 leave the first one where it is.
    low, high = binom.interval(0.999, len(four_images), 18 / 23)
    assert low <= flips <= high


def test_a_content_only_model_never_flips(blink: list[Item], tmp_path: Path) -> None:
    found = orders("blink", blink, by_content, tmp_path, orders=6, floor=True)
    assert (found.accuracy.value, found.worst_case.value, found.flip_rate.value) == (1, 1, 0)
    assert found.floor is not None and found.floor.value == 0
    assert set(found.accuracy_by_slot.values()) == {1.0}
    # Four options; and a reference that stays first, with two options behind it.
    permuted = [item for item in blink if item.sample.order == "letter"]
    assert {item.sample.fixed for item in permuted} == {(), (0,)}
    assert found.answers == sum(6 if not item.sample.fixed else 2 for item in permuted)
    assert found.excluded == {"no_order_rule": len(blink) - len(permuted)}


def test_a_random_model_flips_as_often_without_another_order(
    four_images: list[Item], tmp_path: Path
) -> None:
    found = orders("mantis-eval", four_images, at_random, tmp_path, orders=3, floor=True)
    # Three draws of four letters agree once in 16.
    low, high = binom.interval(0.999, len(four_images), 15 / 16)
    assert found.floor is not None
    assert low <= found.flip_rate.value * len(four_images) <= high
    assert low <= found.floor.value * len(four_images) <= high
    low, high = binom.interval(0.999, len(four_images), 1 / 64)
    assert low <= found.worst_case.value * len(four_images) <= high


def test_the_floor_of_a_position_only_model_is_zero(
    four_images: list[Item], tmp_path: Path
) -> None:
    result = run("mantis-eval", four_images[:20], by_position, tmp_path, orders=4, floor=True)
    assert result.robustness is not None and result.robustness.floor is not None
    assert result.robustness.floor.value == 0
    asked = [(answer.order, answer.repeat) for answer in result.items[0].answers]
    assert asked == [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (0, 3)]


def test_the_score_counts_the_original_order_alone(four_images: list[Item], tmp_path: Path) -> None:
    result = run("mantis-eval", four_images, by_position, tmp_path, orders=2)
    golds = [item.sample.answer for item in four_images]
    assert result.summary.right == golds.count("A")
    assert result.summary.items == len(four_images)


def test_one_order_gives_a_score_and_no_robustness(blink: list[Item], tmp_path: Path) -> None:
    result = run("blink", blink, by_content, tmp_path)
    assert result.robustness is None
    assert all(len(item.answers) == 1 for item in result.items)


def test_equal_expressions_in_other_words_are_no_flip(
    four_images: list[Item], tmp_path: Path
) -> None:
    update = {"kind": "math", "order": "invariant", "answer": "0.5"}
    item = replace(four_images[0], sample=four_images[0].sample.model_copy(update=update))
    said: list[str] = []

    def in_other_words(question: str, pictures: list[tuple[int, ...]], rng: Random) -> str:
        said.append(("\\frac{1}{2}", "0.5", "1/2", "2^{-1}")[len(said)])
        return said[-1]

    found = orders("mantis-eval", [item], in_other_words, tmp_path, orders=4)
    assert len(set(said)) == 4
    assert (found.accuracy.value, found.flip_rate.value) == (1, 0)


def test_other_expressions_are_a_flip(four_images: list[Item], tmp_path: Path) -> None:
    update = {"kind": "math", "order": "invariant", "answer": "0.5"}
    item = replace(four_images[0], sample=four_images[0].sample.model_copy(update=update))

    def by_the_first_image(question: str, pictures: list[tuple[int, ...]], rng: Random) -> str:
        return f"\\frac{{1}}{{{pictures[0][0] + 1}}}"

    found = orders("mantis-eval", [item], by_the_first_image, tmp_path, orders=24)
    assert found.flip_rate.value == 1
