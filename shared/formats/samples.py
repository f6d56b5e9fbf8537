"""The project's own format: each row is a `shared.sample.Sample`, with images as paths."""

import difflib
from collections.abc import Iterator

from pydantic import ValidationError

from shared.formats.building import Reading
from shared.formats.cells import is_empty
from shared.formats.rows import Row
from shared.problems import first_place
from shared.sample import Sample

_OTHERS = (
    ("verl", {"prompt", "reward_model"}),
    ("mantis", {"images", "conversation"}),
    ("mantis", {"images", "conversations"}),
    ("easyr1", {"problem", "answer"}),
)
"""Columns that samples do not have, by the format that has them."""


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample, with its own id; ``images`` may be missing, null or empty."""
    images = "images" if not is_empty(row.values.get("images")) else None
    values = {name: value for name, value in row.values.items() if images or name != "images"}
    try:
        sample = Sample.model_validate(values)
    except ValidationError as error:
        column, words = first_place(error, Sample)
        problem = words + _near(column, error.errors()[0]["type"]) + _hint(row)
        raise row.bad(column, "does not fit", problem) from None
    if not sample.id.strip():
        raise row.bad("id", "is empty")
    yield sample.model_copy(update={"images": reading.images(row, images)})


def _near(column: str, kind: str) -> str:
    """The column that was probably meant by an unknown one."""
    near = difflib.get_close_matches(column, Sample.model_fields, n=1)
    return f"; did you mean '{near[0]}'?" if kind == "extra_forbidden" and near else ""


def _hint(row: Row) -> str:
    """The format that a row of other columns has; empty when it may be meant as a sample."""
    for name, columns in _OTHERS:
        if columns <= row.values.keys():
            return (
                f"; the row looks like format {name}: write {{path: {row.file.name}, format: "
                f"{name}}} (docs/data.md)"
            )
    return ""
