"""Refuses settings of the rollout engine that no node on this machine could start with."""

import json
from pathlib import Path
from typing import Any

import psutil

from perl_rl.launch.model_size import ModelSize
from shared.config import Config
from shared.errors import UserError
from shared.words import amount

GIB = 2**30
_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container may use; "max" without a limit."""


def check_engine(config: Config, size: ModelSize, gpu: float | None) -> None:
    """Compare the engine's settings with the model and this machine.

    Args:
        config: with its device and number type chosen.
        gpu: bytes of the smallest GPU; None: the run computes on the CPU.

    Raises:
        UserError: naming the setting, what it needs and what there is.
    """
    check_split(config)
    _check_context(config)
    number = 4 if config.model.dtype == "float32" else 2
    weights = number * size.parameters
    if gpu is None:
        _check_step(config)
        _check_host(config, weights)
    else:
        _check_gpu(config, weights, gpu)
    _check_cache(config, number)


def check_split(config: Config) -> None:
    """Refuse GPUs of a node that cannot share the model's attention heads evenly.

    Raises:
        UserError: naming the setting, and the numbers that it may have.
    """
    heads = _text_config(config).get("num_attention_heads")
    parallel = config.rollout.engine.tensor_parallel_size
    if isinstance(heads, int) and heads % parallel:
        may = [str(count) for count in (1, 2, 4, 8, 16) if heads % count == 0]
        raise UserError(
            f"rollout.engine.tensor_parallel_size: {parallel} GPUs cannot share the {heads} "
            f"attention heads of the model evenly; {' or '.join(may)} can"
        )


def host_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return total


def _check_step(config: Config) -> None:
    """On a CPU the engine computes a prompt in one step, see `services/rollout/engine/start.py`."""
    engine = config.rollout.engine
    tokens, longest = engine.max_num_batched_tokens, engine.max_model_len
    if tokens is not None and tokens < longest:
        raise UserError(
            f"rollout.engine.max_num_batched_tokens: {tokens} is less than "
            f"rollout.engine.max_model_len ({longest}), and on a CPU the engine takes a prompt in "
            "one step; raise it or leave it out"
        )


def _check_host(config: Config, weights: int) -> None:
    rollout, there = config.rollout, host_memory()
    nodes, cache = rollout.nodes, (rollout.engine.kv_cache_gib or 0) * GIB
    for key, each, count in (
        ("rollout.engine.kv_cache_gib", cache + weights, nodes),
        ("rollout.image_cache_mib", rollout.image_cache_mib * 2**20, nodes),
        ("trainer.prepare_ahead_mib", config.trainer.prepare_ahead_mib * 2**20, 1),
    ):
        if each * count > there:
            whose = f" for {amount(count, 'node')}" if key.startswith("rollout") else ""
            weight = f" with the weights ({_gib(weights)} each)" if "kv_cache" in key else ""
            key = "rollout.nodes" if each <= there and count > 1 else key
            raise UserError(
                f"{key}: {_gib(each * count)} of memory are needed{whose}{weight}, and this "
                f"machine has {_gib(there)}; lower it"
            )


def _check_gpu(config: Config, weights: int, gpu: float) -> None:
    engine = config.rollout.engine
    cache = (engine.kv_cache_gib or 0) * GIB
    need = cache + weights / engine.tensor_parallel_size
    if cache and need > gpu:
        raise UserError(
            f"rollout.engine.kv_cache_gib: with the weights it needs {_gib(need)} of a GPU, and "
            f"the smallest here has {_gib(gpu)}; lower it, or leave it out"
        )


def _check_context(config: Config) -> None:
    longest = _text_config(config).get("max_position_embeddings")
    wanted = config.rollout.engine.max_model_len
    if isinstance(longest, int) and wanted > longest:
        raise UserError(
            f"rollout.engine.max_model_len: {wanted} is more than the {longest} tokens that the "
            f"model reads (max_position_embeddings in {config.model.path / 'config.json'}); lower "
            "it"
        )


def _check_cache(config: Config, number: int) -> None:
    """Refuse a cache that holds no answer: the engine would not start."""
    engine, text = config.rollout.engine, _text_config(config)
    try:
        heads = text["num_attention_heads"]
        width = text.get("head_dim") or text["hidden_size"] // heads
        kv_heads = text.get("num_key_value_heads") or heads
        shared = max(1.0, kv_heads / engine.tensor_parallel_size)
        token = 2 * number * text["num_hidden_layers"] * shared * width
    except (KeyError, TypeError, ZeroDivisionError):
        return  # A family of another shape: the engine itself says so.
    need = token * engine.max_model_len
    if engine.kv_cache_gib is not None and need > engine.kv_cache_gib * GIB:
        raise UserError(
            f"rollout.engine.kv_cache_gib: {engine.kv_cache_gib:g} GiB hold no answer of "
            f"rollout.engine.max_model_len ({engine.max_model_len}) tokens, which takes "
            f"{need / GIB:.3g} GiB; raise the one or lower the other"
        )


def _text_config(config: Config) -> dict[str, Any]:
    """The sizes of the language model; empty when the file cannot be read."""
    try:
        whole = json.loads((config.model.path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    inner = whole.get("text_config")
    return dict(whole | inner if isinstance(inner, dict) else whole)


def _gib(number: float) -> str:
    return f"{number / GIB:,.1f} GiB"
