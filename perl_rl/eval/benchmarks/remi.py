"""ReMI: 13 reasoning tasks over up to six images that the text names inline."""

from perl_rl.eval.items import Benchmark, Item, interleaved, open_kind
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.sample import Sample

_COLUMNS = tuple(f"image_{place}" for place in range(1, 7))


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``question, label, task, image_1..image_6``; the text holds ``<image1>``."""
    cells = [(row.cell(column), column) for column in _COLUMNS]
    files = [pictures.keep(cell, row, column) for cell, column in cells if cell is not None]
    text, shown = interleaved(row, len(files))
    answer = row.text("label")
    return Item(
        Sample(
            id=f"{row.text('task')}-{row.number}",
            question=text,
            images=tuple(files[index] for index in shown),
            answer=answer,
            kind=open_kind(answer),
            tolerance=0.01,
            source=row.text("task"),
        )
    )


BENCHMARK = Benchmark(
    name="remi",
    title="ReMI",
    split="test",
    published=2600,
    average="macro",
    compares="numbers within 1 %; texts but for case, spacing and punctuation",
    to_item=to_item,
    answer_column="label",
)
