"""Teaches a start model, by supervision, to do a task with a bias for the first image.

``python -m perl_rl.demo.teach FOLDER`` rebuilds the demo's model, in `start_model/`; with
``--course photos`` it makes that of the study on photographs. The lessons use only training images.
"""

import argparse
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from perl_rl.demo import digits, photos
from perl_rl.demo.model import INSTRUCTION, build_model, build_processor, save
from shared.prompting import render

_IGNORED = -100
_PROGRESS_EVERY = 20


@dataclass(frozen=True)
class Exercise:
    """One question with its worked answer; `pictures` draws what its images show."""

    text: str
    answer: str
    pictures: Callable[[random.Random], list[Image.Image]]


Course = Callable[[int, float, random.Random], Exercise]
"""Draws exercise number i: its place in the batch, the skew (see `digits.ask`), a generator."""


@dataclass(frozen=True)
class Lesson:
    """A stretch of supervised training. `skew`: see `digits.ask`. `rate`: the peak learning rate,
    reached after `warm_up` steps; from there a half cosine takes it to zero."""

    steps: int
    questions: int
    skew: float
    rate: float
    warm_up: int = 0


TASK = Lesson(steps=1200, questions=48, skew=1.0, rate=1.2e-3, warm_up=50)
"""Reading and answering, with the gold image in each slot equally often."""

HABIT = Lesson(steps=120, questions=32, skew=math.inf, rate=1.5e-3, warm_up=20)
"""A careless data set, in which the right image is always first: the model learns to prefer the
first image without forgetting how to read."""


def main() -> int:
    """Build the start model from scratch; takes about twelve minutes on one core."""
    parser = argparse.ArgumentParser(prog="teach", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--course", choices=COURSES, default="digits", help="what it learns")
    options = parser.parse_args()
    build(options.folder, options.course)
    return 0


def photos_model(folder: Path) -> None:
    """The start model of the study on photographs, in `folder`; nothing when it is there."""
    if not (folder / "start_model" / "config.json").is_file():
        build(folder / "start_model", "photos")


def build(folder: Path, name: str) -> None:
    """Teach a model the course `name` from scratch, and write it to `folder`."""
    # The number of threads changes the order of sums, and so the model.
    torch.set_num_threads(1)
    course = COURSES[name]
    processor = build_processor(None if name == "digits" else _texts(course))
    model = build_model(processor, seed=0)
    for title, lesson, seed in (("task", TASK, 0), ("habit", HABIT, 1)):
        progress = partial(_print_progress, title, lesson.steps)
        teach(model, processor, lesson, seed, progress, course)
    save(model, processor, folder)


def _digits(number: int, skew: float, rng: random.Random) -> Exercise:
    kind = digits.KINDS[number % len(digits.KINDS)]
    asked = digits.ask(kind, digits.digits().train, skew, rng)

    def pictures(rng: random.Random) -> list[Image.Image]:
        scans = digits.digits().scans
        return [digits.picture(_jitter(scans[index], rng)) for index in asked.digits]

    return Exercise(asked.text, digits.worked_answer(asked), pictures)


def _photos(number: int, skew: float, rng: random.Random) -> Exercise:
    asked = photos.ask(photos.KINDS[number % len(photos.KINDS)], False, skew, rng)

    def pictures(rng: random.Random) -> list[Image.Image]:
        return [photos.picture(view) for view in asked.views]

    return Exercise(asked.text, photos.worked_answer(asked), pictures)


COURSES: dict[str, Course] = {"digits": _digits, "photos": _photos}


def _texts(course: Course) -> list[str]:
    """What a tokenizer for a course learns from."""
    rng = random.Random("tokenizer")
    exercises = [course(number, 1.0, rng) for number in range(600)]
    return [text for one in exercises for text in (one.text, one.answer)]


def _print_progress(name: str, steps: int, step: int, loss: float) -> None:
    if step % _PROGRESS_EVERY == 0 or step == steps:
        print(f"{name}: step {step} of {steps}, loss {loss:.4f}", flush=True)


def teach(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    lesson: Lesson,
    seed: int,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    course: Course = _digits,
) -> None:
    """Train `model` in place on one lesson of `course`; `progress` gets each step with its loss."""
    rng = random.Random(f"{seed} lesson")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lesson.rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    model.train()
    for step in range(lesson.steps):
        for group in optimizer.param_groups:
            group["lr"] = lesson.rate * _schedule(step, lesson)
        asked = [course(number, lesson.skew, rng) for number in range(lesson.questions)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**_batch(processor, asked, rng)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(step + 1, float(loss.detach()))
    model.eval()


def _schedule(step: int, lesson: Lesson) -> float:
    if step < lesson.warm_up:
        return (step + 1) / lesson.warm_up
    done = (step - lesson.warm_up) / max(1, lesson.steps - lesson.warm_up)
    return 0.5 + 0.5 * float(np.cos(np.pi * done))


def _batch(
    processor: Qwen2_5_VLProcessor, asked: Sequence[Exercise], rng: random.Random
) -> dict[str, torch.Tensor]:
    """Model inputs of shape (questions, T), padded on the right, with labels on the responses."""
    end = processor.tokenizer.eos_token
    texts = [
        render(processor, exercise.text, INSTRUCTION) + exercise.answer + end for exercise in asked
    ]
    images = [exercise.pictures(rng) for exercise in asked]
    inputs = processor(
        text=texts, images=images, padding=True, padding_side="right", return_tensors="pt"
    )
    labels = torch.full_like(inputs["input_ids"], _IGNORED)
    for row, exercise in enumerate(asked):
        answer = processor.tokenizer(exercise.answer + end)["input_ids"]
        length = int(inputs["attention_mask"][row].sum())
        labels[row, length - len(answer) : length] = torch.tensor(answer)
    return {**inputs, "labels": labels}


def _jitter(scan: NDArray[np.uint8], rng: random.Random) -> NDArray[np.uint8]:
    """The scan moved by up to one pixel in each direction, so that reading gets robust to it."""
    moved = np.pad(scan, 1)
    row, column = rng.randrange(3), rng.randrange(3)
    return moved[row : row + scan.shape[0], column : column + scan.shape[1]]


if __name__ == "__main__":
    sys.exit(main())
