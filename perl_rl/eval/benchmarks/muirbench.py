"""MuirBench: 12 tasks over two to nine images; each question has a twin that cannot be answered."""

from perl_rl.eval.items import (
    Benchmark,
    Item,
    gold_letter,
    image_options,
    lettered,
    padded_left,
    without_labels,
)
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.sample import Sample

_NONE_FITS = "none of the choices provided"
"""The right choice of a question that its images cannot answer."""


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``idx, task, image_relation, question, options, answer, image_list``.

    Tags for the images are in the question, in the options, or in both.
    """
    cells = row.items("image_list")
    images = tuple(pictures.keep(cell, row, "image_list") for cell in cells)
    choices = without_labels(row.texts("options"))
    answer = gold_letter(row, choices)
    order, fixed = image_options(choices, len(images))
    right = choices[ord(answer) - ord("A")].strip(" .").casefold()
    return Item(
        Sample(
            id=row.text("idx"),
            question=padded_left(row.text("question") + lettered(choices), len(images), row),
            images=images,
            answer=answer,
            kind="letter",
            order=order,
            fixed=fixed,
            source=row.text("task"),
        ),
        choices=tuple(choices),
        groups={
            "image_relation": row.text("image_relation", empty=True) or "not given",
            "answerable": "no" if right == _NONE_FITS else "yes",
        },
    )


BENCHMARK = Benchmark(
    name="muirbench",
    title="MuirBench",
    split="test",
    published=2600,
    average="micro",
    compares="letters",
    to_item=to_item,
)
