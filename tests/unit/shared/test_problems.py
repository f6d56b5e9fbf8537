"""What a wrong value in a configuration is told: our words, one line, the key's name."""

import datetime
import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from perl_rl.data.config import PrepareConfig
from perl_rl.study.spec import Study
from shared.config import Config
from shared.other_tools import NAMES
from shared.problems import FALLBACK, first_problem, in_words
from shared.sample import Sample
from shared.yaml_files import Kind, meant_for

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


def refused(model: type[BaseModel], key: str, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(with_value(GOOD[model], tuple(key.split(".")), value))
    return first_problem(caught.value, model)


TWO = [{"path": "a"}, {"path": "b"}]


@pytest.mark.parametrize(
    ("model", "key", "value", "line"),
    [
        (
            Config,
            "data.train",
            [TWO[0], {"path": "b", "weight": -1}],
            "data.train, second source, weight: must be more than 0 (got -1)",
        ),
        (
            Config,
            "data.train",
            [*TWO, {"format": "verl"}],
            "data.train, third source: the key 'path' is missing",
        ),
        (
            Config,
            "data.heldout",
            [*TWO, {"pth": "c"}],
            "data.heldout, third source: unknown key 'pth'; did you mean 'path'? "
            "docs/configuration.md lists all keys",
        ),
        (
            Config,
            "data.train",
            ["a.jsonl"],
            "data.train, first source: is a path; in a list it is written {path: a.jsonl} "
            "(got 'a.jsonl')",
        ),
        (
            Config,
            "data.train",
            {"path": "a", "weight": "x"},
            "data.train.weight: must be a number (got 'x')",
        ),
        (
            PrepareConfig,
            "balance.target",
            "papre",
            "balance.target: must be 'paper' or 'drop-0-and-1', or have keys and values "
            "(got 'papre')",
        ),
        (
            PrepareConfig,
            "balance.target",
            {0.5: "x", 1: 2},
            "balance.target, entry 0.5: must be a number (got 'x')",
        ),
        (
            PrepareConfig,
            "stages",
            ["filter", "sort"],
            "stages, second value: must be 'filter', 'rephrase', 'difficulty', 'balance' or "
            "'label' (got 'sort')",
        ),
        (
            PrepareConfig,
            "label.endpoint",
            {"urll": "x", "model": "m"},
            "unknown key 'label.endpoint.urll'; did you mean 'label.endpoint.url'? "
            "docs/configuration.md lists all keys",
        ),
    ],
)
def test_a_place_is_named_in_plain_words(
    model: type[BaseModel], key: str, value: Any, line: str
) -> None:
    assert refused(model, key, value) == line


@pytest.mark.parametrize("number", [1, 2, 10, 11, 12, 13, 21, 22, 33, 111, 121])
def test_entries_are_counted_from_one(number: int) -> None:
    names = {1: "first", 2: "second", 10: "tenth", 21: "21st", 22: "22nd", 33: "33rd", 121: "121st"}
    value = [{"path": "a"}] * (number - 1) + [{"path": "b", "weight": 0}]
    name = names.get(number, f"{number}th")
    assert refused(Config, "data.train", value).startswith(f"data.train, {name} source, weight: ")


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("data.train_files", "x", "here it is data.train;"),
        ("num_generations", 4, "here it is sampling.n;"),
        ("rollout.n", 4, "did you mean 'sampling.n'?"),
        ("optimizer", {"lr": 1}, "'optimizer.lr' is trainer.optimizer.learning_rate here"),
        ("trainer.optimizer.lr", 1, "here it is trainer.optimizer.learning_rate"),
        (
            "actor_rollout_ref",
            {"actor": {"optim": {"lr": 1}}},
            "'actor_rollout_ref.actor.optim.lr' is trainer.optimizer.learning_rate here",
        ),
        ("worker", {"rollout": {"n": 5}}, "'worker.rollout.n' is sampling.n here"),
        ("per_device_train_batch_size", 1, "trainer.groups_per_step, which counts questions"),
        ("trainer.total_epochs", 1, "here it is trainer.steps, which counts steps, not epochs"),
        ("output_dir", "x", "here it is the option --run-dir"),
        ("sampling.max_new_tokens", 1, "here it is sampling.max_tokens"),
        ("rollout.gpu_memory_utilization", 0.5, "'rollout.engine.gpu_memory_utilization'?"),
        ("sampling.temprature", 1, "did you mean 'sampling.temperature'?"),
        ("reward.judge", {"endpont": {}}, "did you mean 'reward.judge.endpoint'?"),
    ],
)
def test_an_unknown_key_is_told_what_it_is_called_here(key: str, value: Any, meant: str) -> None:
    line = refused(Config, key, value)
    assert line.startswith(f"unknown key '{key}") and meant in line


def test_every_key_of_another_tool_leads_to_one_of_ours() -> None:
    ours = {".".join(key) for key in all_keys(Config)}
    options = {"--run-dir", "--resume"}
    assert {called for called in NAMES.values() if called not in ours | options} == set()


def all_keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """As `keys`, with those of the entries of lists."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        for kind in models(field.annotation):
            yield from all_keys(kind, (*above, name))


def models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for one in get_args(kind):
        yield from models(one)


def patterns(kind: object) -> Iterator[str]:
    """The regular expressions that texts of a model, and of the models in it, have to match."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for field in kind.model_fields.values():
            yield from (one.pattern for one in field.metadata if getattr(one, "pattern", None))
            yield from patterns(field.annotation)
    for one in get_args(kind):
        yield from patterns(one)


@pytest.mark.parametrize("model", [Config, PrepareConfig, Study])
def test_no_message_shows_a_regular_expression(model: type[BaseModel]) -> None:
    for pattern in patterns(model):
        one = {"type": "string_pattern_mismatch", "ctx": {"pattern": pattern}}
        assert in_words(cast(ErrorDetails, one)) != FALLBACK, pattern
    assert model is PrepareConfig or list(patterns(model))


def test_a_key_that_runs_into_its_value_is_said_to_lack_a_space() -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(GOOD[Config] | {"trackers": [{"name:wandb": None}]})
    assert "unknown key 'name:wandb'; a space belongs behind ':'" in first_problem(
        caught.value, Config
    )


@pytest.mark.parametrize(
    ("content", "wanted", "said"),
    [
        ({"run": "r", "model": {}, "data": {}}, "study", "this file configures a run (perl-rl ch"),
        ({"input": "a", "work": "b"}, "run", "this file prepares data (perl-rl data prepare); "),
        ({"arms": {}, "config": "a"}, "prepare", "this file describes a study (perl-rl study); "),
        ({"run": "r", "model": {}, "data": {}}, "run", ""),
        ({"steps": 3}, "run", ""),
        (["a"], "run", ""),
    ],
)
def test_a_file_for_another_command_says_for_which(content: Any, wanted: Kind, said: str) -> None:
    words = meant_for(content, wanted)
    assert words.startswith(said) and bool(words) == bool(said)
