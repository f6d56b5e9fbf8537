"""EasyR1: flat rows with a prompt, images and an answer; `keys` names the columns."""

from collections.abc import Iterator

from shared.formats.building import Columns, Reading, build_flat
from shared.formats.rows import Row
from shared.sample import Sample


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample."""
    keys = reading.source.keys
    prompt = keys.prompt or ("problem" if "problem" in row.values else "prompt")
    source = reading.source.name or "easyr1"
    yield build_flat(row, reading, Columns(prompt, keys.answer), keys.images, source)
