"""A key of the configuration as a line of the pages that list them (``make docs``)."""

from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shared.config.section import Section


def key_row(key: str, field: FieldInfo) -> str:
    """The line of one key in a table of keys, types, defaults and meanings."""
    default = "required" if field.default is PydanticUndefined else f"`{_shown(field.default)}`"
    meaning = " ".join((field.description or "").split()).replace("|", "\\|").replace("``", "`")
    return f"| `{key}` | {_type(field.annotation)} | {default} | {meaning} |\n"


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "null" if value is None else "[]"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_type(one) for one in arguments)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if hasattr(kind, "__metadata__"):
        return _type(arguments[0])
    if kind is NoneType:
        return "null"
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping from {_type(arguments[0])} to {_type(arguments[1])}"
    if issubclass(kind, Section):
        return "mapping"
    return {str: "text", Path: "path", int: "integer", float: "number", bool: "true or false"}[kind]
