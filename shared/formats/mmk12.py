"""MMK12: ``id, question, answer, subject, image``, one image a question."""

from collections.abc import Iterator

from shared.formats.building import Columns, Reading, build
from shared.formats.rows import Row
from shared.sample import Sample


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample."""
    subject = row.values.get("subject")
    yield build(
        row,
        row.text("question"),
        reading.images(row, "image"),
        row.text("answer"),
        Columns("question", "answer"),
        source=f"mmk12/{subject}" if isinstance(subject, str) and subject else "mmk12",
    )
