"""Lines of ``metrics.jsonl``, for tests."""

import json
from types import NoneType
from typing import Any, get_args

from shared.records.steps import StepRecord

_EMPTY = {int: 0, float: 0.5, list[str]: [], dict[str, int]: {}}


def line(**fields: Any) -> str:
    """A line with these fields; the others have values of their types."""
    values = {
        name: None if NoneType in get_args(field.annotation) else _EMPTY[field.annotation]
        for name, field in StepRecord.model_fields.items()
    }
    return json.dumps(values | fields) + "\n"
