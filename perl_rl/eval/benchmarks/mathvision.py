"""MathVision: competition problems with one picture, parts of which the text may name."""

from perl_rl.eval.items import Benchmark, Item, gold_letter, lettered, one_image
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.sample import Sample


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``id, question, options, image, decoded_image, answer, level, subject``.

    ``<image1>``, ``<image2>``, .. are parts of one picture.
    """
    choices = row.texts("options")
    answer = gold_letter(row, "answer", choices) if choices else row.text("answer")
    column = "decoded_image" if row.values.get("decoded_image") is not None else "image"
    return Item(
        Sample(
            id=row.text("id"),
            question=one_image(row.text("question") + _options(choices), row, "question"),
            images=(pictures.keep(row.cell(column), row, column),),
            answer=answer,
            kind="letter" if choices else "math",
            source=row.text("subject"),
        ),
        absolute=None if choices else 1e-6,
        choices=tuple(choices),
        groups={"level": row.text("level")},
    )


def _options(choices: list[str]) -> str:
    # Options that are only letters stand in the picture.
    if choices == [chr(ord("A") + place) for place in range(len(choices))]:
        return f"\nOptions: {', '.join(choices)}" if choices else ""
    return lettered(choices)


BENCHMARK = Benchmark(
    name="mathvision",
    title="MathVision",
    split="test",
    published=3040,
    average="micro",
    compares="letters; expressions by equivalence, numbers within 1e-6",
    to_item=to_item,
)
