"""Mantis-Eval: questions over several images; answers are letters or a few words."""

import re

from perl_rl.eval.items import (
    Benchmark,
    Item,
    gold_letter,
    image_options,
    lettered,
    open_kind,
    padded_left,
    without_labels,
)
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.sample import Sample

_TYPES = ("multi-choice", "short-answer")


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``id, question_type, question, images, options, answer, category``."""
    kind = row.one_of("question_type", _TYPES)
    images = tuple(pictures.keep(cell, row, "images") for cell in row.items("images"))
    question = row.text("question")
    choices = without_labels(row.texts("options")) if kind == "multi-choice" else []
    text = padded_left(question + lettered(choices), len(images), row)
    order, fixed = image_options(choices, len(images))
    answer = _gold(row, question, choices) if kind == "multi-choice" else row.text("answer")
    return Item(
        Sample(
            id=row.text("id"),
            question=text,
            images=images,
            answer=answer,
            kind="letter" if kind == "multi-choice" else open_kind(answer),
            order=order,
            fixed=fixed,
            source=row.text("category", empty=True) or "all",
        ),
        choices=tuple(choices),
        groups={"question_type": kind},
    )


def _gold(row: Row, question: str, choices: list[str]) -> str:
    # Some questions list their options in their text.
    listed = choices or re.findall(r"\(([A-Z])\)", question)
    return gold_letter(row, listed)


BENCHMARK = Benchmark(
    name="mantis-eval",
    title="Mantis-Eval",
    split="test",
    published=217,
    average="micro",
    compares="letters; numbers; short texts but for case, spacing and punctuation",
    to_item=to_item,
)
