"""Says in plain words, and in one line, what is wrong with values that pydantic refused."""

import difflib
import os
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.other_tools import called_here
from shared.problem_places import Place, place_of
from shared.words import amount

FALLBACK = "is not accepted"
"""Said of an error that has no words here; it names its kind."""

_SHOWN_CHARS = 80
_SECRET = ("security.", "redis.", "trackers")
"""Sections whose values may hold a secret, so that messages do not show them."""

_WHOLE, _NUMBER, _TEXT = "must be a whole number", "must be a number", "must be text"
_SECTION, _LIST = "must have keys and values", "must be a list"
_UNKNOWN = ("extra_forbidden", "invalid_key")
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
_BEGINS = "must begin with a letter or digit, and have only letters, digits, '.', '_' and '-'"
_PATTERNS = {
    r"^[\w.-]+$": "must have only letters, digits, '.', '_' and '-'",
    r"^[^:\s]+:\d{1,5}$": "must be an address with a port, as 10.0.0.5:29400",
    r"\S": "must not be empty",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": f"{_BEGINS}, at most 64 of them",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$": f"{_BEGINS}, at most 128 of them",
    r"^[a-z0-9][a-z0-9_-]{0,39}$": "must begin with a small letter or digit, and have only those, "
    "'_' and '-', at most 40 of them",
}
"""What a value must be that has to match a regular expression; a test looks that none is left
out."""

_BOUNDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than": lambda of: f"must be more than {_plain(of['gt'])}",
    "greater_than_equal": lambda of: f"must be at least {_plain(of['ge'])}",
    "less_than": lambda of: f"must be less than {_plain(of['lt'])}",
    "less_than_equal": lambda of: f"must be at most {_plain(of['le'])}",
    "literal_error": lambda of: f"must be {of['expected']}",
    "string_pattern_mismatch": lambda of: _PATTERNS.get(of["pattern"], FALLBACK),
    "string_too_short": lambda of: f"must have at least {amount(of['min_length'], 'character')}",
    "string_too_long": lambda of: f"must have at most {amount(of['max_length'], 'character')}",
    "too_short": lambda of: f"must have at least {amount(of['min_length'], 'entry')}",
    "too_long": lambda of: f"must have at most {amount(of['max_length'], 'entry')}",
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
    first, place = _first(error, of)
    if first["type"] in _UNKNOWN:
        return _unknown(place, first["input"], of, keys)
    if first["type"] == "missing":
        if place.in_entry:
            return f"{place.above.words}: the key '{place.name}' is missing"
        return f"the key '{place.words}' is missing"
    message = _all_in_words(error, of, place) or in_words(first)
    secret = place.key.startswith(("security.", "redis.", "trackers")) or place.key.endswith(
        "api_key"
    )
    where = place.words
    # A whole section is not shown either: it may hold a secret.
    if not where or secret or isinstance(first["input"], dict):
        return f"{where}: {message}" if where else message
    return f"{where}: {message}{_given(first)}"


def first_place(error: ValidationError, of: type[BaseModel]) -> tuple[str, str]:
    """The field of the first mistake in a row (empty: the whole), and what it is, with the word or
    number that is there."""
    first, place = _first(error, of)
    words = (_all_in_words(error, of, place) or in_words(first)) + given_word(first)
    entry = place.words.removeprefix(place.key).removeprefix(", ")
    return place.key, f"its {entry} {words}" if entry else words


def given_word(problem: ErrorDetails) -> str:
    """`` (got 'mcq')``: the word or number that a row has; empty for more, or for nothing."""
    one = isinstance(problem["input"], str | int | float)
    return _given(problem) if one and problem["type"] not in ("missing", *_UNKNOWN) else ""


def _given(problem: ErrorDetails) -> str:
    given = "nothing" if problem["input"] is None else repr(problem["input"])
    return f" (got {textwrap.shorten(given, _SHOWN_CHARS)})"


def _first(error: ValidationError, of: type[BaseModel]) -> tuple[ErrorDetails, Place]:
    """The first problem, or one that says more of the same value.

    A value that may be a word or a mapping, and is a mapping, is refused as a word first.
    """
    problems = [(one, place_of(one["loc"], of)) for one in error.errors()]
    first = problems[0]
    for one in problems:
        # A key that is missing may be there under a wrong name.
        renamed = first[0]["type"] == "missing" and one[0]["type"] == "extra_forbidden"
        if first[1].holds(one[1]) or (renamed and one[1].above == first[1].above):
            return one
    return first


def _all_in_words(error: ValidationError, of: type[BaseModel], place: Place) -> str:
    """What a value must be that may have one of several types; empty when it has one."""
    several = [one for one in error.errors() if place_of(one["loc"], of) == place]
    words = list(dict.fromkeys(map(in_words, several)))
    if len(words) < 2:
        return ""
    return ", or ".join([words[0], *(one.removeprefix("must ") for one in words[1:])])


def _unknown(place: Place, value: Any, of: type[BaseModel], keys: str) -> str:
    near, theirs = _nearest(place.key, list(_keys(of))), called_here(place.key, value)
    meant = f"did you mean '{near}'? " if near else ""
    # Of a section of another tool the key below it says more than a section of ours by that name.
    ours = near is not None and near.rpartition(".")[2] == place.name
    if theirs and (isinstance(value, dict) or not ours):
        meant = f"{theirs}; "
    if ":" in place.name:
        meant = "a space belongs behind ':'; "
    if not place.in_entry:
        return f"unknown key '{place.words}'; {meant}{keys} lists all keys"
    section = place.key.rpartition(".")[0]
    meant = meant.replace(f"'{section}.", "'")
    return f"{place.above.words}: unknown key '{place.name}'; {meant}{keys} lists all keys"


def _nearest(key: str, known: list[str]) -> str | None:
    """The key that was probably meant: one of the same name in another section, or else one with
    nearly the same name, in the same section first."""
    section, _, name = key.rpartition(".")
    elsewhere = [one for one in known if one.rpartition(".")[2] == name]
    if elsewhere:
        return max(elsewhere, key=lambda one: len(os.path.commonpath(_as_paths(one, key))))
    siblings = [one for one in known if one.rpartition(".")[0] == section]
    for group in (siblings, known):
        by_name: dict[str, str] = {}
        for one in group:
            by_name.setdefault(one.rpartition(".")[2], one)
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.75)
        if near:
            return by_name[near[0]]
    return None


def _as_paths(*keys: str) -> list[str]:
    return ["/" + key.replace(".", "/") for key in keys]


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
