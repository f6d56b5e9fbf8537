r"""ViRL39K: ``question, answer (\boxed{}), category, source, qid, image`` (a list of paths)."""

from collections.abc import Iterator

from shared.formats.building import Columns, Reading, build
from shared.formats.rows import Row
from shared.sample import Sample


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample."""
    category = row.values.get("category")
    yield build(
        row,
        row.text("question"),
        reading.images(row, "image"),
        row.text("answer"),
        Columns("question", "answer"),
        source=f"virl39k/{category}" if isinstance(category, str) and category else "virl39k",
    )
