"""veRL: ``data_source, prompt=[{role, content}], images, reward_model={ground_truth}``."""

import re
from collections.abc import Iterator
from typing import Any

from shared.formats.building import Columns, Reading, build
from shared.formats.cells import is_empty
from shared.formats.labels import said
from shared.formats.rows import Row
from shared.formats.turns import turns_of
from shared.sample import Sample

_NAMES_PICTURES = re.compile(r"image|img|picture|photo|figure", re.IGNORECASE)
_NAMES_MEDIA = re.compile(r"video|audio|multi_?modal", re.IGNORECASE)


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's one sample: the user's turn. The run adds its own system prompt and instruction."""
    turns = [turn for turn in turns_of(row, "prompt") if turn.role != "system"]
    if [turn.role for turn in turns] != ["user"]:
        roles = ", ".join(turn.role for turn in turns) or "none"
        raise row.bad(
            "prompt", "is not one user turn", f"must have one user turn; its roles are: {roles}"
        )
    source = row.values.get("data_source")
    yield build(
        row,
        turns[0].text,
        _images(row, reading),
        _ground_truth(row),
        Columns("prompt", "reward_model.ground_truth"),
        source=source if isinstance(source, str) and source else "verl",
        said=said(row, reading.source.keys),
    )


def _images(row: Row, reading: Reading) -> tuple[str, ...]:
    """The images; published text-only data has no column for them."""
    named = any(map(_NAMES_PICTURES.search, row.values))
    for name, value in row.values.items():
        if _NAMES_MEDIA.search(name) and not _holds_nothing(value):
            problem = (
                "is not read; name the files of pictures in 'images'; only images are supported"
            )
            raise row.bad(name, "is not read", problem)
    return reading.images(row, "images" if named else None)


def _holds_nothing(value: Any) -> bool:
    return is_empty(value) or (isinstance(value, dict) and all(map(is_empty, value.values())))


def _ground_truth(row: Row) -> str:
    column = "reward_model.ground_truth"
    model: Any = row.value("reward_model")
    if not isinstance(model, dict):
        raise row.bad("reward_model", "is not an object", "must be an object with ground_truth")
    if "ground_truth" not in model:
        problem = f"is missing; reward_model has {', '.join(sorted(model)) or 'nothing'}"
        raise row.bad(column, "is missing", problem)
    if model["ground_truth"] is None:
        raise row.bad(column, "is empty")
    return row.as_text(model["ground_truth"], column)
