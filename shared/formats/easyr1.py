"""EasyR1: flat rows with a prompt, images and an answer; `keys` names the columns."""

from collections.abc import Iterator

from shared.formats.building import Columns, Reading, build_flat
from shared.formats.labels import said
from shared.formats.rows import Row
from shared.sample import Sample

_NO_IMAGES = "name the right one in keys.images, or give null for a question without pictures"


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample."""
    keys = reading.source.keys
    prompt = keys.prompt or ("problem" if "problem" in row.values else "prompt")
    source = reading.source.name or "easyr1"
    images = reading.images(row, keys.images, _NO_IMAGES)
    yield build_flat(row, Columns(prompt, keys.answer), images, source, said(row, keys))
