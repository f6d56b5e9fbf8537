"""BLINK: 14 tasks of visual perception over one to four images; answers are letters."""

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

_COLUMNS = ("image_1", "image_2", "image_3", "image_4")


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``idx, question, sub_task, image_1..image_4, choices, answer``.

    The text names its images in words, so they come before it, in their order.
    """
    cells = [(row.cell(column), column) for column in _COLUMNS]
    shown = [(cell, column) for cell, column in cells if cell is not None]
    if [column for _, column in shown] != list(_COLUMNS[: len(shown)]) or not shown:
        raise row.bad(
            "image_1", "the images do not fill the columns from image_1 on; close the gap"
        )
    images = tuple(pictures.keep(cell, row, column) for cell, column in shown)
    choices = without_labels(row.texts("choices"))
    answer = gold_letter(row, choices)
    order, fixed = image_options(choices, len(images))
    return Item(
        Sample(
            id=row.text("idx"),
            question=padded_left(row.text("question") + lettered(choices), len(images), row),
            images=images,
            answer=answer,
            kind="letter",
            order=order,
            fixed=fixed,
            source=row.text("sub_task"),
        ),
        choices=tuple(choices),
    )


BENCHMARK = Benchmark(
    name="blink",
    title="BLINK",
    split="val",
    published=1901,
    average="macro",
    compares="letters",
    to_item=to_item,
)
