"""The project's own format: each row is a `shared.sample.Sample`, with images as paths."""

from collections.abc import Iterator

from pydantic import ValidationError

from shared.formats.building import Reading
from shared.formats.cells import is_empty
from shared.formats.rows import Row
from shared.sample import Sample, refused_sample


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample, with its own id; ``images`` may be missing, null or empty."""
    images = "images" if not is_empty(row.values.get("images")) else None
    values = {name: value for name, value in row.values.items() if images or name != "images"}
    try:
        sample = Sample.model_validate(values)
    except ValidationError as error:
        column, problem = refused_sample(error, values)
        raise row.bad(column, "does not fit", problem) from None
    if not sample.id.strip():
        raise row.bad("id", "is empty")
    yield sample.model_copy(update={"images": reading.images(row, images)})
