"""MathVision: competition problems with one picture, whose parts the text may name."""

import string

from perl_rl.eval.items import Benchmark, Item, gold_letter, lettered, one_image
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.sample import Sample


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``id, question, options, image, decoded_image, answer, level, subject``.

    ``<image1>``, ``<image2>``, .. are parts of one picture.
    """
    choices = row.texts("options")
    answer = gold_letter(row, choices) if choices else row.text("answer")
    return Item(
        Sample(
            id=row.text("id"),
            question=one_image(row.text("question") + _options(choices), row),
            images=(pictures.keep_decoded(row),),
            answer=answer,
            kind="letter" if choices else "math",
            source=row.text("subject"),
        ),
        rule="value" if choices else "kind",
        absolute=None if choices else 1e-6,
        choices=tuple(choices),
        groups={"level": row.text("level")},
    )


def _options(choices: list[str]) -> str:
    # If the options are only letters, the picture shows them.
    if choices == list(string.ascii_uppercase[: len(choices)]):
        return f"\nOptions: {', '.join(choices)}" if choices else ""
    return lettered(choices)


BENCHMARK = Benchmark(
    name="mathvision",
    title="MathVision",
    split="test",
    published=3040,
    average="micro",
    compares="letters, else the value of the right option; expressions by equivalence, numbers "
    "within 1e-6",
    to_item=to_item,
)
