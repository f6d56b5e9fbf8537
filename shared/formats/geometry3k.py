"""`hiyouga/geometry3k`: ``images, problem, answer``."""

from collections.abc import Iterator

from shared.formats.building import Columns, Reading, build
from shared.formats.rows import Row
from shared.sample import Sample


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample."""
    yield build(
        row,
        row.text("problem"),
        reading.images(row, "images"),
        row.text("answer"),
        Columns("problem", "answer"),
        source="geometry3k",
    )
