r"""ViRL39K: ``question, answer (\boxed{}), category, source, qid, image`` (a list of paths)."""

from collections.abc import Iterator

from shared.formats.building import Columns, Reading, build_flat, part_of
from shared.formats.rows import Row
from shared.sample import Sample


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample."""
    source = part_of("virl39k", row, "category")
    yield build_flat(row, Columns("question", "answer"), reading.images(row, "image"), source)
