"""Engine settings that no node here could start with are refused, with what the machine has."""

import json
from pathlib import Path
from typing import Any

import pytest

from perl_rl.launch import engine_fits
from perl_rl.launch.engine_fits import GIB, check_engine, host_memory
from perl_rl.launch.model_size import ModelSize
from shared.config import Config
from shared.errors import UserError

SEVEN = {
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128_000,
}
SIZE = ModelSize(8_000_000_000, 600_000_000)


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_fits, "host_memory", lambda: 100 * GIB)


@pytest.fixture(params=["flat", "nested"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model's folder; newer ones keep the sizes of the language model in ``text_config``."""
    content = SEVEN if request.param == "flat" else {"text_config": SEVEN}
    (tmp_path / "config.json").write_text(json.dumps(content))
    return tmp_path


def config(model: Path, rollout: dict[str, Any], **trainer: Any) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": model, "dtype": "bfloat16"},
            "data": {"train": "t"},
            "rollout": rollout,
            "trainer": trainer,
        }
    )


@pytest.mark.parametrize(
    ("rollout", "gpu", "words"),
    [
        (
            {"engine": {"kv_cache_gib": 500}},
            None,
            "rollout.engine.kv_cache_gib: 514.9 GiB of memory are needed for 1 node with the "
            "weights (14.9 GiB each), and this machine has 100.0 GiB; lower it",
        ),
        (
            {"engine": {"kv_cache_gib": 40}, "nodes": 2},
            None,
            "rollout.nodes: 109.8 GiB of memory are needed for 2 nodes with the weights",
        ),
        (
            {"image_cache_mib": 200_000},
            None,
            "rollout.image_cache_mib: 195.3 GiB of memory are needed for 1 node, and this machine",
        ),
        (
            {"engine": {"kv_cache_gib": 70}},
            80 * GIB,
            "kv_cache_gib: with the weights it needs 84.9 GiB of a GPU, and the smallest here has "
            "80.0 GiB",
        ),
        (
            {"engine": {"tensor_parallel_size": 3}},
            80 * GIB,
            "rollout.engine.tensor_parallel_size: 3 GPUs cannot share the 28 attention heads of "
            "the model evenly; 1 or 2 or 4 can",
        ),
        (
            {"engine": {"max_model_len": 200_000}},
            80 * GIB,
            "rollout.engine.max_model_len: 200000 is more than the 128000 tokens that the model",
        ),
        (
            {"engine": {"kv_cache_gib": 0.1}},
            80 * GIB,
            "0.1 GiB hold no answer of rollout.engine.max_model_len (10240) tokens, which takes "
            "0.547 GiB",
        ),
    ],
)
def test_what_cannot_fit_is_named_with_what_there_is(
    model: Path, rollout: dict[str, Any], gpu: float | None, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        check_engine(config(model, rollout), SIZE, gpu)
    assert words in str(caught.value)


def test_what_fits_passes(model: Path) -> None:
    check_engine(config(model, {"engine": {"kv_cache_gib": 20}, "nodes": 2}), SIZE, None)
    check_engine(config(model, {"engine": {"kv_cache_gib": 60}}), SIZE, 80.0 * GIB)
    split = {"engine": {"kv_cache_gib": 70, "tensor_parallel_size": 2}}
    check_engine(config(model, split), SIZE, 80.0 * GIB)


def test_the_trainers_memory_is_compared_too(model: Path) -> None:
    with pytest.raises(UserError, match=r"trainer\.prepare_ahead_mib: 195\.3 GiB of memory are ne"):
        check_engine(config(model, {}, prepare_ahead_mib=200_000), SIZE, None)


def test_a_model_of_another_shape_is_left_to_the_engine(tmp_path: Path) -> None:
    for content in ("[1", "{}", '{"num_attention_heads": 0, "hidden_size": 1}'):
        (tmp_path / "config.json").write_text(content)
        check_engine(config(tmp_path, {"engine": {"kv_cache_gib": 1}}), SIZE, None)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(engine_fits, "_LIMIT", limit)
    machine = host_memory()
    limit.write_text("max\n")
    assert host_memory() == machine
    limit.write_text("1000000\n")
    assert host_memory() == 1_000_000
