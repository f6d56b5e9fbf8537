"""MMIU: 52 multi-image tasks; answers are letters, images are files beside the data."""

import re
import string

from perl_rl.eval.items import Benchmark, Item, any_letter, image_options, lettered, padded_left
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.sample import Sample

_OPTION = re.compile(r"(?:^|\n)\s*([A-Z])\s?:[ \t]*")


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``task, question, context, options, input_image_path, output``.

    The images come first. ``options`` is one text with a line ``A: ..`` for each option. Sometimes
    no option has the gold letter: the question still counts, as published, and forms a group.
    """
    paths = row.texts("input_image_path")
    images = tuple(pictures.keep(path, row, "input_image_path") for path in paths)
    choices = _choices(row)
    letter = any_letter(row, "output")
    listed = letter in string.ascii_uppercase[: len(choices)]
    order, fixed = image_options(choices, len(images)) if listed else (None, ())
    return Item(
        Sample(
            id=f"{row.text('task')}-{row.number}",
            question=padded_left(_text(row, choices), len(images), row),
            images=images,
            answer=letter,
            kind="letter",
            order=order,
            fixed=fixed,
            source=row.text("task"),
        ),
        choices=tuple(choices),
        groups={} if listed else {"gold letter": "not among the options"},
    )


def _choices(row: Row) -> list[str]:
    # The first part is the text before the first label.
    before, *parts = _OPTION.split(row.text("options"))
    labels, choices = parts[::2], [choice.strip() for choice in parts[1::2]]
    expected = string.ascii_uppercase[: len(labels)]
    if before.strip() or len(labels) < 2 or "".join(labels) != expected:
        raise row.bad("options", "must list 'A: ..', 'B: ..' and so on, each on its line")
    return choices


def _text(row: Row, choices: list[str]) -> str:
    # The context often repeats the options at its end.
    context = row.text("context", empty=True).replace(row.text("options"), "").strip()
    parts = [part for part in (row.text("question"), context) if part]
    return "\n".join(parts) + lettered(choices)


BENCHMARK = Benchmark(
    name="mmiu",
    title="MMIU",
    split="test",
    published=11698,
    average="macro",
    compares="letters",
    to_item=to_item,
    answer_column="output",
)
