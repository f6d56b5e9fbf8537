"""The demo's questions: their answers, their skew, and that held-out digits stay held out."""

import itertools
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from perl_rl.demo.digits import (
    IMAGE_SIDE,
    KINDS,
    Question,
    QuestionKind,
    ask,
    digits,
    questions,
    worked_answer,
    write_data,
)
from shared.permutation import all_orders, answer_under, apply_order, gold_slot, identity, refusal
from shared.sample import Sample, load_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    write_data(folder, train=60, held_out=30, skew=4.0, seed=5)
    return folder


def _values(sample: Sample, order: tuple[int, ...]) -> list[int]:
    """The digits that the slots show, read off the file names: the number of the scan."""
    scans = [int(Path(image).stem) for image in apply_order(sample, order).images]
    return [digits().values[scan] for scan in scans]


def _truth(text: str, values: list[int]) -> str:
    """The right answer worked out from the question's words, apart from the code under test."""
    if "sum" in text:
        return str(sum(values))
    if "odd" in text:
        return str(len([value for value in values if value in (1, 3, 5, 7, 9)]))
    extreme = max(values) if "larg" in text else min(values)
    names = "ABCD" if "option" in text else ("first", "second")
    return names[values.index(extreme)]


def test_every_training_and_held_out_image_is_on_one_side_only() -> None:
    data = digits()
    assert not set(data.train) & set(data.held_out)
    assert sorted(data.train + data.held_out) == list(range(1797))
    assert set(Counter(data.values[index] for index in data.held_out)) == set(range(10))


@pytest.mark.parametrize("kind", KINDS)
def test_answer_follows_the_images_under_every_order(kind: QuestionKind, folder: Path) -> None:
    samples = [one for one in load_samples(folder / "train.jsonl") if one.source == kind]
    assert len(samples) == 20
    for sample in samples:
        for order in all_orders(len(sample.images)):
            expected = _truth(sample.question, _values(sample, order))
            assert answer_under(sample.answer, sample, order) == expected


def test_every_sample_may_be_permuted_and_asks_about_two_to_four_images(folder: Path) -> None:
    for name in ("train", "heldout"):
        for sample in load_samples(folder / f"{name}.jsonl"):
            assert refusal(sample) is None
            assert 2 <= len(sample.images) <= 4


def test_files_name_only_images_of_their_side(folder: Path) -> None:
    sides = {"train": digits().train, "heldout": digits().held_out}
    for name, pool in sides.items():
        for sample in load_samples(folder / f"{name}.jsonl"):
            assert {int(Path(image).stem) for image in sample.images} <= set(pool)


def test_pictures_are_rgb_and_of_one_size(folder: Path) -> None:
    pictures = sorted((folder / "images").iterdir())
    named = {
        image
        for name in ("train", "heldout")
        for line in (folder / f"{name}.jsonl").read_text().splitlines()
        for image in json.loads(line)["images"]
    }
    assert {f"images/{picture.name}" for picture in pictures} == named
    for picture in pictures:
        with Image.open(picture) as image:
            assert (image.mode, image.size) == ("RGB", (IMAGE_SIDE, IMAGE_SIDE))


def test_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_data(tmp_path, train=60, held_out=30, skew=4.0, seed=5)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_other_seed_asks_other_questions(folder: Path, tmp_path: Path) -> None:
    write_data(tmp_path, train=60, held_out=30, skew=4.0, seed=6)
    for name in ("train.jsonl", "heldout.jsonl"):
        assert (tmp_path / name).read_bytes() != (folder / name).read_bytes()


def test_gold_slots_follow_the_skew() -> None:
    asked = list(questions(3000, digits().train, 4.0, "skew"))
    first = Counter(one.answer for one in asked if one.kind == "place")
    # First 4 times as often as second: 80 %; six standard deviations are 7.6 points.
    assert 0.724 < first["first"] / 1000 < 0.876


def test_without_skew_each_letter_is_as_often_right() -> None:
    rng = random.Random(0)
    letters = Counter[str]()
    while sum(letters.values()) < 3000:
        one = ask("option", digits().held_out, 1.0, rng)
        letters.update(one.answer if len(one.digits) == 3 else "")
    chi_square = sum((letters[letter] - 1000) ** 2 / 1000 for letter in "ABC")
    assert chi_square < 13.8  # 2 degrees of freedom, 0.1 %


def test_worked_answer_reads_the_digits_in_slot_order() -> None:
    by_value = {value: index for index, value in enumerate(digits().values)}
    question = Question("option", "", tuple(by_value[value] for value in (3, 8, 1)), "B")
    assert worked_answer(question) == "<think>3 8 1</think>\\boxed{B}"


def test_skew_moves_the_gold_image_not_the_question(folder: Path) -> None:
    slots = Counter(
        gold_slot(sample, identity(len(sample.images)))
        for sample in load_samples(folder / "train.jsonl")
        if sample.source == "place"
    )
    assert slots[0] > slots[1]
    assert len(list(itertools.chain(slots.elements()))) == 20
