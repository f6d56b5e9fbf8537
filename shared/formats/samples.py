"""The project's own format: each row is a `shared.sample.Sample`, with images as paths."""

from collections.abc import Iterator

from pydantic import ValidationError

from shared.formats.building import Reading
from shared.formats.cells import is_empty
from shared.formats.rows import Row
from shared.problems import in_words
from shared.sample import Sample

_OTHERS = {
    "verl": {"prompt", "reward_model"},
    "mantis": {"conversations"},
    "easyr1": {"problem", "answer"},
}
"""Formats by columns that a sample does not have."""


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample, with its own id; ``images`` may be missing, null or empty."""
    images = "images" if not is_empty(row.values.get("images")) else None
    values = {name: value for name, value in row.values.items() if images or name != "images"}
    try:
        sample = Sample.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(str(part) for part in first["loc"]) or "row"
        problem = in_words(first) + _other_format(row)
        raise row.bad(column, "does not fit", problem) from None
    if not sample.id.strip():
        raise row.bad("id", "is empty")
    yield sample.model_copy(update={"images": reading.images(row, images)})


def _other_format(row: Row) -> str:
    for name, columns in _OTHERS.items():
        if columns <= row.values.keys():
            return f"; its columns are those of another format: say format: {name} (docs/data.md)"
    return ""
