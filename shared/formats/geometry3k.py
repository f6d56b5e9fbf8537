"""`hiyouga/geometry3k`: ``images, problem, answer``."""

from collections.abc import Iterator

from shared.formats.building import Columns, Reading, build_flat
from shared.formats.rows import Row
from shared.sample import Sample


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample."""
    yield build_flat(row, Columns("problem", "answer"), reading.images(row, "images"), "geometry3k")
