"""MIRB: perception, knowledge, reasoning and several hops over images; a file for each task."""

from perl_rl.eval.items import Benchmark, Item, open_kind, padded_left
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.grading.kinds.letter import read_letter
from shared.sample import Sample

_LETTERED = ("codeu", "foods", "image_jigsaw")
"""Tasks whose questions list options ``A`` to ``E`` in their text."""


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``questions, answers, images``, one question each; its task is the file's name.

    The images come first, as in the published runs.
    """
    task, answer = row.file.stem, row.text("answers")
    images = tuple(pictures.keep(path, row, "images") for path in row.texts("images"))
    if task in _LETTERED and read_letter(answer) is None:
        raise row.bad("answers", "is no letter", f"'{answer[:40]}' is no letter")
    return Item(
        Sample(
            id=f"{task}-{row.number}",
            question=padded_left(row.text("questions"), len(images), row),
            images=images,
            answer=answer,
            kind="letter" if task in _LETTERED else open_kind(answer),
            source=task,
        )
    )


BENCHMARK = Benchmark(
    name="mirb",
    title="MIRB",
    split="test",
    published=925,
    average="macro",
    compares="letters; numbers; short texts but for case, spacing and punctuation",
    to_item=to_item,
    answer_column="answers",
)
