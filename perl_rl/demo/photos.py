"""A second set of questions over several images: parts of nine real photographs.

The photographs come with scikit-image; docs/study.md has their licences. Training questions show
parts from the left of each photograph, held-out questions parts from its right, so that no pixel is
in both. ``perl-rl study configs/studies/photos.yaml`` trains on them.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from perl_rl.demo.digits import IMAGE_SIDE
from perl_rl.demo.files import write_questions
from shared.errors import UserError
from shared.images import PILLOW_MAX_PIXELS, decode_image, to_rgb
from shared.permutation import ORDINALS
from shared.sample import IMAGE_TAG, AnswerKind, OrderRule, Sample

QuestionKind = Literal["find", "odd", "nearer", "same", "count", "sort"]
"""find, odd: the letter of the image that shows a subject, or something else than the others
(re-indexed when images move). nearer: which of two, named by its place. same: whether two show the
same subject; count: how many show it (both stay). sort: all places, from the nearest view on."""

KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)

FILES = {
    "brick": "brick.png",
    "cat": "chelsea.png",
    "coins": "coins.png",
    "galaxies": "hubble_deep_field.jpg",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "tissue": "ihc.png",
    "vessels": "retina.jpg",
    "writing": "text.png",
}
"""What a photograph shows, and its file in scikit-image."""

SUBJECTS = tuple(FILES)
MEASURED = ("brick", "coins", "grass", "gravel", "writing")
"""Those with things of about one size, so that a view can be told to be near or far."""

SIDES = {"near": 48, "middle": 84, "far": 148}
"""Pixels of the photograph that a view shows, each way."""

SKEW = 10.0
"""As `digits.SKEW`."""

TRAIN_QUESTIONS, HELD_OUT_QUESTIONS = 3000, 240

_TRAIN_SHARE = 0.6
"""Of a photograph's width."""
_WHOLE_SIDE = 512
"""Larger photographs are cut to their middle, which the retina fills."""


@dataclass(frozen=True)
class View:
    """A square part of a photograph: its upper left corner and what it is."""

    subject: str
    distance: str
    left: int
    top: int


@dataclass(frozen=True)
class Question:
    """A question over views, in slot order; `trace` is the reasoning that is taught."""

    kind: QuestionKind
    text: str
    views: tuple[View, ...]
    answer: str
    trace: str


@cache
def photograph(subject: str) -> Image.Image:
    """The photograph in colour.

    Raises:
        UserError: when scikit-image is not installed.
    """
    try:
        import skimage
    except ImportError:
        raise UserError(
            "the photographs come with scikit-image, which is not installed; install it: "
            "pip install scikit-image"
        ) from None
    file = Path(skimage.__file__).parent / "data" / FILES[subject]
    whole = to_rgb(decode_image(file, file.name, PILLOW_MAX_PIXELS))
    width, height = (min(side, _WHOLE_SIDE) for side in whole.size)
    left, top = (whole.width - width) // 2, (whole.height - height) // 2
    return whole.crop((left, top, left + width, top + height))


def picture(view: View) -> Image.Image:
    """A view as the picture of `IMAGE_SIDE` pixels that the model is shown."""
    side = SIDES[view.distance]
    part = photograph(view.subject).crop((view.left, view.top, view.left + side, view.top + side))
    return part.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC)


def ask(kind: QuestionKind, held_out: bool, skew: float, rng: random.Random) -> Question:
    """Draw one question of `kind`.

    Args:
        held_out: show the parts of the photographs that training never shows.
        skew: as in `digits.ask`; same, count and sort have no gold image and ignore it.
    """
    return _ASK[kind](_Draw(held_out, skew, rng))


def questions(count: int, held_out: bool, skew: float, seed: str) -> Iterator[Question]:
    """Draw `count` questions, kind after kind; equal seeds give equal questions."""
    rng = random.Random(seed)
    for number in range(count):
        yield ask(KINDS[number % len(KINDS)], held_out, skew, rng)


def worked_answer(question: Question) -> str:
    """The response to teach: what each image shows as the reasoning, then the answer."""
    return f"<think>{question.trace}</think>\\boxed{{{question.answer}}}"


def write_data(
    folder: Path,
    seed: int,
    train: int = TRAIN_QUESTIONS,
    held_out: int = HELD_OUT_QUESTIONS,
    skew: float = SKEW,
) -> None:
    """As `digits.write_data`: ``train.jsonl``, ``heldout.jsonl`` and the ``images/`` they name."""
    # The training file is written last.
    parts = {
        "heldout": list(questions(held_out, True, 1.0, f"{seed} heldout")),
        "train": list(questions(train, False, skew, f"{seed} train")),
    }
    shown = {view for asked in parts.values() for question in asked for view in question.views}
    samples = {
        name: [_sample(f"{name}-{number}", question) for number, question in enumerate(asked)]
        for name, asked in parts.items()
    }
    write_questions(folder, samples, {_image_name(view): picture(view) for view in shown})


@dataclass(frozen=True)
class _Draw:
    """Draws what a question is made of."""

    held_out: bool
    skew: float
    rng: random.Random

    def view(self, subject: str, distance: str | None = None) -> View:
        distance = distance or self.rng.choice(list(SIDES))
        width, height = photograph(subject).size
        side, border = SIDES[distance], round(_TRAIN_SHARE * width)
        first, last = (border, width - side) if self.held_out else (0, border - side)
        left, top = self.rng.randint(first, last), self.rng.randint(0, height - side)
        return View(subject, distance, left, top)

    def slot(self, count: int) -> int:
        """The gold image's, skewed towards the first one."""
        weights = [1.0, *[1.0 / self.skew] * (count - 1)]
        return self.rng.choices(range(count), weights=weights)[0]

    def subjects(self, count: int) -> list[str]:
        return self.rng.sample(SUBJECTS, count)


def _options(count: int) -> str:
    return "".join(f"\n{letter}. {IMAGE_TAG}" for letter in "ABCD"[:count])


def _named(views: Sequence[View]) -> str:
    return " ".join(view.subject for view in views)


def _find(draw: _Draw) -> Question:
    count = draw.rng.choice((3, 4))
    gold, shown = draw.slot(count), draw.subjects(count)
    views = tuple(draw.view(subject) for subject in shown)
    text = f"Which option shows {shown[gold]}?{_options(count)}"
    return Question("find", text, views, "ABCD"[gold], _named(views))


def _odd(draw: _Draw) -> Question:
    count = draw.rng.choice((3, 4))
    gold, (other, usual) = draw.slot(count), draw.subjects(2)
    views = tuple(draw.view(other if slot == gold else usual) for slot in range(count))
    text = f"Which option shows something else than the others?{_options(count)}"
    return Question("odd", text, views, "ABCD"[gold], _named(views))


def _nearer(draw: _Draw) -> Question:
    gold, subject = draw.slot(2), draw.rng.choice(MEASURED)
    near, far = sorted(draw.rng.sample(list(SIDES), 2), key=lambda name: SIDES[name])
    views = tuple(draw.view(subject, near if slot == gold else far) for slot in range(2))
    text = (
        f"First {IMAGE_TAG} second {IMAGE_TAG}\n"
        "Which of the two shows the nearer view, first or second?"
    )
    return Question("nearer", text, views, ORDINALS[gold], _distances(views))


def _same(draw: _Draw) -> Question:
    one, two = draw.subjects(2)
    alike = draw.rng.random() < 0.5
    views = (draw.view(one), draw.view(one if alike else two))
    text = f"{IMAGE_TAG * 2}\nDo both images show the same thing, yes or no?"
    return Question("same", text, views, "yes" if alike else "no", _named(views))


def _count(draw: _Draw) -> Question:
    count = draw.rng.choice((3, 4))
    wanted, other = draw.subjects(2)
    views = tuple(draw.view(draw.rng.choice((wanted, other))) for _ in range(count))
    text = f"{IMAGE_TAG * count}\nHow many of the images show {wanted}?"
    number = sum(view.subject == wanted for view in views)
    return Question("count", text, views, str(number), _named(views))


def _sort(draw: _Draw) -> Question:
    subject, distances = draw.rng.choice(MEASURED), draw.rng.sample(list(SIDES), len(SIDES))
    views = tuple(draw.view(subject, distance) for distance in distances)
    text = f"{IMAGE_TAG * len(views)}\nSort the images from the nearest view to the farthest one."
    slots = sorted(range(len(views)), key=lambda slot: SIDES[views[slot].distance])
    answer = ", ".join(str(slot + 1) for slot in slots)
    return Question("sort", text, views, answer, _distances(views))


def _distances(views: Sequence[View]) -> str:
    return " ".join(view.distance for view in views)


_ASK: dict[QuestionKind, Callable[[_Draw], Question]] = {
    "find": _find,
    "odd": _odd,
    "nearer": _nearer,
    "same": _same,
    "count": _count,
    "sort": _sort,
}

_RULES: dict[QuestionKind, tuple[AnswerKind, OrderRule]] = {
    "find": ("letter", "letter"),
    "odd": ("letter", "letter"),
    "nearer": ("position", "position"),
    "same": ("boolean", "invariant"),
    "count": ("number", "invariant"),
    "sort": ("order", "order"),
}


def _sample(name: str, question: Question) -> Sample:
    kind, order = _RULES[question.kind]
    return Sample(
        id=name,
        question=question.text,
        images=tuple(_image_name(view) for view in question.views),
        answer=question.answer,
        kind=kind,
        order=order,
        source=question.kind,
    )


def _image_name(view: View) -> str:
    return f"images/{view.subject}-{view.distance}-{view.left}-{view.top}.png"
