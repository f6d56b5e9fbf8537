"""Lines of ``metrics.jsonl``, for tests."""

import json
from types import NoneType
from typing import Any, get_args, get_origin

from shared.records.steps import StepRecord

_EMPTY = {int: 0, float: 0.5, dict[str, int]: {}}


def _empty(kind: Any) -> Any:
    return [] if get_origin(kind) is list else _EMPTY[kind]


def line(**fields: Any) -> str:
    """A line with these fields; the others have values of their types."""
    values: dict[str, Any] = {
        name: None if NoneType in get_args(field.annotation) else _empty(field.annotation)
        for name, field in StepRecord.model_fields.items()
    }
    return json.dumps(values | fields) + "\n"
