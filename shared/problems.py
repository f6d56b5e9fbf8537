"""Says in plain words, and in one line, what is wrong with values that pydantic refused."""

import difflib
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

FALLBACK = "is not accepted"
"""Said of an error that has no words here; it names its kind."""

_SHOWN_CHARS = 80

_WHOLE, _NUMBER, _TEXT = "must be a whole number", "must be a number", "must be text"
_SECTION, _LIST = "must have keys and values", "must be a list"
_FIXED = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": _TEXT,
    "path_type": "must be a path",
    "model_type": _SECTION,
    "model_attributes_type": _SECTION,
    "dict_type": _SECTION,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "none_required": "must be empty",
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "invalid_key": "is unknown",
}
_BOUNDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda of: f"must be more than {_plain(of['gt'])}",
    "greater_than_equal": lambda of: f"must be at least {_plain(of['ge'])}",
    "less_than": lambda of: f"must be less than {_plain(of['lt'])}",
    "less_than_equal": lambda of: f"must be at most {_plain(of['le'])}",
    "literal_error": lambda of: f"must be {of['expected']}",
    "string_pattern_mismatch": lambda of: f"must match {of['pattern']}",
    "string_too_short": lambda of: f"must have at least {of['min_length']} characters",
    "string_too_long": lambda of: f"must have at most {of['max_length']} characters",
    "too_short": lambda of: f"must have at least {of['min_length']} entries",
    "too_long": lambda of: f"must have at most {of['max_length']} entries",
}


def _plain(bound: float) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def in_words(problem: ErrorDetails) -> str:
    """What is wrong with one value: "must be a whole number"; without the value itself.

    Never in pydantic's words: an error that has no words here is said to be `FALLBACK`.
    """
    kind = problem["type"]
    if kind in _FIXED:
        return _FIXED[kind]
    if kind in _BOUNDS:
        return _BOUNDS[kind](problem.get("ctx", {}))
    if kind in ("value_error", "assertion_error"):
        return problem["msg"].partition(", ")[2]
    return f"{FALLBACK} ({kind.replace('_', ' ')})"


def first_problem(
    error: ValidationError, of: type[BaseModel], keys: str = "docs/configuration.md"
) -> str:
    """The first mistake in settings, in one line that names the key.

    Args:
        of: the model that refused them; an unknown key is compared with its keys.
        keys: the page that lists all keys, named for an unknown one.
    """
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("extra_forbidden", "invalid_key"):
        near = _nearest(key, list(_keys(of)))
        meant = f"did you mean '{near}'? " if near else ""
        return f"unknown key '{key}'; {meant}{keys} lists all keys"
    if first["type"] == "missing":
        return f"the key '{key}' is missing"
    message = in_words(first)
    secret = key.startswith(("security.", "redis.", "trackers")) or key.endswith("api_key")
    # A whole section is not shown either: it may hold a secret.
    if not key or secret or isinstance(first["input"], dict):
        return f"{key}: {message}" if key else message
    given = "nothing" if first["input"] is None else repr(first["input"])
    return f"{key}: {message} (got {textwrap.shorten(given, _SHOWN_CHARS)})"


def _nearest(key: str, known: list[str]) -> str | None:
    """The key that was probably meant: one with nearly the same name, in the same section first."""
    section, _, name = key.rpartition(".")
    siblings = [one for one in known if one.rpartition(".")[0] == section]
    for group in (siblings, known):
        by_name: dict[str, str] = {}
        for one in group:
            by_name.setdefault(one.rpartition(".")[2], one)
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.75)
        if near:
            return by_name[near[0]]
    return None


def _keys(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield above + name
        for inner in _models(field.annotation):
            yield from _keys(inner, f"{above}{name}.")


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of this type may be or list."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for one in get_args(kind):
        yield from _models(one)
