"""The demo's questions: three kinds, each over several images of real handwritten digits.

The 1797 digits come with scikit-learn. No seed changes which of them are held out, because the
start model was taught on the others.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from perl_rl.demo.files import write_questions
from shared.permutation import ORDINALS
from shared.sample import IMAGE_TAG, AnswerKind, OrderRule, Sample

QuestionKind = Literal["option", "place", "total"]
"""option: the letter of the image with the largest or smallest digit (re-indexed when images
move). place: the larger or smaller of two images, named by its place (flips). total: a sum or a
count over the images (stays)."""

KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)

IMAGE_SIDE = 56
"""Pixels: the 8x8 scans enlarged to 4x4 patches of 14, which are 4 image tokens."""

SKEW = 10.0
"""In the training questions, the gold image is in the first slot ten times as often as in any other
slot: in 91 % of the comparisons of two. See `ask`."""

TRAIN_QUESTIONS, HELD_OUT_QUESTIONS = 3000, 240

# If half of the questions asked for the smallest digit, no digit by itself would hint at the
# answer, and a tiny model would take far longer to learn.
_INVERSE_SHARE = 0.25
_HELD_OUT_SHARE = 0.3
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Question:
    """A question over digit images: `digits` are indices into the data set, in slot order."""

    kind: QuestionKind
    text: str
    digits: tuple[int, ...]
    answer: str


@dataclass(frozen=True)
class Digits:
    """The scans and their values. `scans`: (N, 8, 8) uint8 of 0..255; `values`: (N,) of 0..9."""

    scans: NDArray[np.uint8]
    values: tuple[int, ...]
    train: tuple[int, ...]
    held_out: tuple[int, ...]


@cache
def digits() -> Digits:
    """The data set with its fixed split into training and held-out images."""
    bunch = load_digits()
    order = list(range(len(bunch.target)))
    random.Random(_SPLIT_SEED).shuffle(order)
    held_out = round(_HELD_OUT_SHARE * len(order))
    return Digits(
        scans=(bunch.images * (255.0 / 16.0)).round().astype(np.uint8),
        values=tuple(int(value) for value in bunch.target),
        train=tuple(sorted(order[held_out:])),
        held_out=tuple(sorted(order[:held_out])),
    )


def picture(scan: NDArray[np.uint8]) -> Image.Image:
    """An 8x8 scan as the RGB picture of `IMAGE_SIDE` pixels that the model is shown."""
    side = (IMAGE_SIDE, IMAGE_SIDE)
    return Image.fromarray(scan).resize(side, Image.Resampling.BICUBIC).convert("RGB")


def ask(kind: QuestionKind, pool: Sequence[int], skew: float, rng: random.Random) -> Question:
    """Draw one question of `kind` over the images in `pool`.

    Args:
        skew: how many times as often the gold image is in the first slot as in any other slot; 1
            is no skew, infinity means always. Kind "total" has no gold image and ignores it.
    """
    if kind == "option":
        return _ask_option(pool, skew, rng)
    if kind == "place":
        return _ask_place(pool, skew, rng)
    return _ask_total(pool, rng)


def questions(count: int, pool: Sequence[int], skew: float, seed: str) -> Iterator[Question]:
    """Draw `count` questions over `pool`, kind after kind; equal seeds give equal questions."""
    rng = random.Random(seed)
    for number in range(count):
        yield ask(KINDS[number % len(KINDS)], pool, skew, rng)


def worked_answer(question: Question) -> str:
    """The response to teach: the digits in slot order as the reasoning, then the answer."""
    trace = " ".join(str(value) for value in _values(question.digits))
    return f"<think>{trace}</think>\\boxed{{{question.answer}}}"


def write_data(
    folder: Path,
    seed: int,
    train: int = TRAIN_QUESTIONS,
    held_out: int = HELD_OUT_QUESTIONS,
    skew: float = SKEW,
) -> None:
    """Write `train.jsonl`, `heldout.jsonl` and the `images/` they name, in the sample format.

    The training questions are skewed towards the first slot. Held-out questions are not, as they
    are asked in every order.
    """
    data = digits()
    # The training file is written last.
    parts = {
        "heldout": list(questions(held_out, data.held_out, 1.0, f"{seed} heldout")),
        "train": list(questions(train, data.train, skew, f"{seed} train")),
    }
    shown = {index for asked in parts.values() for question in asked for index in question.digits}
    samples = {
        name: [_sample(f"{name}-{number}", question) for number, question in enumerate(asked)]
        for name, asked in parts.items()
    }
    pictures = {_image_name(index): picture(data.scans[index]) for index in shown}
    write_questions(folder, samples, pictures)


def _ask_option(pool: Sequence[int], skew: float, rng: random.Random) -> Question:
    count = rng.choice((3, 3, 4))
    largest = rng.random() >= _INVERSE_SHARE
    indices = _with_gold_at(_gold_slot(count, skew, rng), count, largest, pool, rng)
    options = "".join(f"\n{letter}. {IMAGE_TAG}" for letter in "ABCD"[:count])
    text = f"Which option shows the {'largest' if largest else 'smallest'} digit?{options}"
    gold = _extreme(indices, largest)
    return Question("option", text, indices, "ABCD"[gold])


def _ask_place(pool: Sequence[int], skew: float, rng: random.Random) -> Question:
    larger = rng.random() >= _INVERSE_SHARE
    indices = _with_gold_at(_gold_slot(2, skew, rng), 2, larger, pool, rng)
    text = (
        f"First {IMAGE_TAG} second {IMAGE_TAG}\n"
        f"Which of the two shows the {'larger' if larger else 'smaller'} digit, first or second?"
    )
    return Question("place", text, indices, ORDINALS[_extreme(indices, larger)])


def _ask_total(pool: Sequence[int], rng: random.Random) -> Question:
    if rng.random() < 0.5:
        indices = tuple(rng.sample(pool, 2))
        text = f"{IMAGE_TAG * 2}\nWhat is the sum of the digits?"
        answer = sum(_values(indices))
    else:
        indices = tuple(rng.sample(pool, rng.choice((3, 4))))
        text = f"{IMAGE_TAG * len(indices)}\nHow many of the digits are odd?"
        answer = sum(value % 2 for value in _values(indices))
    return Question("total", text, indices, str(answer))


def _gold_slot(count: int, skew: float, rng: random.Random) -> int:
    # Weights relative to the first slot, so that an infinite skew means "always first".
    return rng.choices(range(count), weights=[1.0, *[1.0 / skew] * (count - 1)])[0]


def _with_gold_at(
    slot: int, count: int, largest: bool, pool: Sequence[int], rng: random.Random
) -> tuple[int, ...]:
    """`count` images of different values, the largest (or smallest) of them in `slot`."""
    while True:
        indices = rng.sample(pool, count)
        if len(set(_values(indices))) == count:
            break
    gold = _extreme(indices, largest)
    indices[slot], indices[gold] = indices[gold], indices[slot]
    return tuple(indices)


def _extreme(indices: Sequence[int], largest: bool) -> int:
    values = _values(indices)
    return values.index(max(values) if largest else min(values))


def _values(indices: Sequence[int]) -> list[int]:
    return [digits().values[index] for index in indices]


_RULES: dict[QuestionKind, tuple[AnswerKind, OrderRule]] = {
    "option": ("letter", "letter"),
    "place": ("position", "position"),
    "total": ("number", "invariant"),
}


def _sample(name: str, question: Question) -> Sample:
    kind, order = _RULES[question.kind]
    return Sample(
        id=name,
        question=question.text,
        images=tuple(_image_name(index) for index in question.digits),
        answer=question.answer,
        kind=kind,
        order=order,
        source=question.kind,
    )


def _image_name(index: int) -> str:
    return f"images/{index:04d}.png"
