"""MMK12: ``id, question, answer, subject, image``, one image per question."""

from collections.abc import Iterator

from shared.formats.building import Columns, Reading, build_flat, part_of
from shared.formats.rows import Row
from shared.sample import Sample


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample."""
    source = part_of("mmk12", row, "subject")
    yield build_flat(row, Columns("question", "answer"), reading.images(row, "image"), source)
