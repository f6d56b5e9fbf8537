"""The questions about photographs: their answers under every order, and what is held out."""

from collections import Counter
from pathlib import Path

import pytest

skimage = pytest.importorskip("skimage", reason="needs scikit-image, which holds the photographs")

from perl_rl.demo.photos import (  # noqa: E402
    KINDS,
    SIDES,
    SUBJECTS,
    QuestionKind,
    photograph,
    picture,
    questions,
    write_data,
)
from shared.permutation import all_orders, apply_order, refusal  # noqa: E402
from shared.sample import Sample, load_samples  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_data(folder, train=90, held_out=48, skew=4.0, seed=5)
    return folder


def shown(images: tuple[str, ...]) -> list[list[str]]:
    """Subject and distance of each image, read off the file names."""
    return [Path(image).stem.split("-")[:2] for image in images]


def truth(kind: str, text: str, images: tuple[str, ...]) -> str:
    """The right answer worked out from the question's words, apart from the code under test."""
    subjects = [subject for subject, _ in shown(images)]
    sides = [SIDES[distance] for _, distance in shown(images)]
    if kind == "find":
        return "ABCD"[subjects.index(text.partition("shows ")[2].partition("?")[0])]
    if kind == "odd":
        return "ABCD"[[subjects.count(one) for one in subjects].index(1)]
    if kind == "nearer":
        return ("first", "second")[sides.index(min(sides))]
    if kind == "same":
        return "yes" if len(set(subjects)) == 1 else "no"
    if kind == "count":
        return str(subjects.count(text.partition("show ")[2].partition("?")[0]))
    return ", ".join(str(sides.index(side) + 1) for side in sorted(sides))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_follow_the_images_under_every_order(kind: QuestionKind, folder: Path) -> None:
    samples = [one for one in load_samples(folder / "train.jsonl") if one.source == kind]
    assert len(samples) == 15
    for sample in samples:
        assert refusal(sample) is None
        for order in all_orders(len(sample.images)):
            rendered = apply_order(sample, order)
            assert rendered.answer == truth(kind, rendered.question, rendered.images), sample


def test_no_pixel_is_in_training_and_held_out_questions() -> None:
    for held_out in (False, True):
        for one in questions(300, held_out, 1.0, "pixels"):
            for view in one.views:
                width, height = photograph(view.subject).size
                border, right = round(0.6 * width), view.left + SIDES[view.distance]
                assert view.left >= border if held_out else right <= border
                assert right <= width and view.top + SIDES[view.distance] <= height


def test_the_skew_puts_the_gold_image_first() -> None:
    def firsts(skew: float) -> float:
        asked = [one for one in questions(900, False, skew, "skew") if one.kind == "find"]
        return sum(one.answer == "A" for one in asked) / len(asked)

    assert firsts(10.0) > 0.7 > 0.4 > firsts(1.0)


def test_every_subject_is_shown_and_looks_like_something(folder: Path) -> None:
    for name in ("train", "heldout"):
        samples: list[Sample] = load_samples(folder / f"{name}.jsonl")
        assert {subject for one in samples for subject, _ in shown(one.images)} == set(SUBJECTS)
    for view in next(questions(1, False, 1.0, "look")).views:
        counted = Counter(picture(view).convert("L").tobytes())
        assert len(counted) > 8


def test_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_data(tmp_path, train=90, held_out=48, skew=4.0, seed=5)
    for file in ("train.jsonl", "heldout.jsonl"):
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()
