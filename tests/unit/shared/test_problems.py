"""What a wrong value in a configuration is told: our words, one line, the key's name."""

import datetime
import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from perl_rl.data.config import PrepareConfig
from shared.config import Config
from shared.problems import FALLBACK, first_problem, in_words
from shared.sample import Sample

GOOD: dict[type[BaseModel], dict[str, Any]] = {
    Config: {
        "run": "test",
        "model": {"path": "model"},
        "data": {"train": "train.jsonl"},
        "trainer": {},
    },
    PrepareConfig: {"input": "all.jsonl", "work": "work"},
    Sample: {"id": "a", "question": "?", "answer": "1", "kind": "number"},
}

# Everything that YAML may give for any key.
WRONG: tuple[Any, ...] = (
    *(None, True, "", "x", "x" * 5000, "a b", "-1", -1, 0, 2, 1.5, -0.5, 2**70),
    *(float("inf"), float("nan"), [], [[]], ["x"], [1], {}, {"x": 1}, {1: 2}, b"x", {"x"}),
    *(datetime.date(2001, 1, 1), datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)),
    *([{}], [{"path": "a", "format": "x"}], {"path": "a", "weight": "x"}, {"endpoint": {}}),
)

# What pydantic writes when nobody words its errors.
PYDANTIC = re.compile(
    r"Input |input should|[Vv]alue error|Assertion|[Ff]ield required|Extra |permitted|parse|valid |"
    r"instance|\[type=|`|String|List|Dict|Tuple|Set "
)


def keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*above, name)
        for kind in sections(field.annotation):
            yield from keys(kind, (*above, name))


def sections(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    if get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from sections(one)


def with_value(good: dict[str, Any], key: tuple[str, ...], value: Any) -> dict[str, Any]:
    raw: dict[str, Any] = dict(good)
    section = raw
    for name in key[:-1]:
        below = section.get(name)
        section[name] = dict(below) if isinstance(below, dict) else {}
        section = section[name]
    section[key[-1]] = value
    return raw


@pytest.mark.parametrize(
    ("model", "key"),
    [(model, key) for model in GOOD for key in sorted(set(keys(model)))],
    ids=lambda part: ".".join(part) if isinstance(part, tuple) else part.__name__,
)
def test_no_wrong_value_is_answered_in_pydantics_words(
    model: type[BaseModel], key: tuple[str, ...]
) -> None:
    for value in WRONG:
        try:
            model.model_validate(with_value(GOOD[model], key, value))
        except ValidationError as error:
            line = first_problem(error, model)
            own, _, _ = line.partition(" (got ")
            assert "\n" not in line and len(line) < 400, line
            assert not PYDANTIC.search(own), (value, line)
            assert FALLBACK not in line, (value, error.errors()[0]["type"])
            assert key[-1] in line or ".".join(key[:-1]) in line, (key, value, line)


def test_an_error_without_words_here_is_not_answered_in_pydantics() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(datetime.date).validate_python("x")
    assert in_words(caught.value.errors()[0]) == "is not accepted (date from datetime parsing)"
