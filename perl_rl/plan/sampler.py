"""The memory of one GPU of a rollout node."""

from perl_rl.plan.parts import Need, Parts
from perl_rl.plan.shape import ModelShape
from shared.config import Config

STEP_TOKENS = 8192
"""Tokens that the engine computes in a step on a GPU, unless the configuration says otherwise."""
VERSION = "a version in /dev/shm"
"""The bytes of the weights that a node keeps, to make the next version of them."""
GRAPHS = 1.5e9
"""Bytes that captured CUDA graphs take: an estimate."""


def engine_need(config: Config, shape: ModelShape, gpu: float, reserve: float) -> Need:
    """The memory of one GPU of a node; its KV cache takes what the settings leave for it.

    Args:
        gpu: bytes that the GPU has.
        reserve: bytes that CUDA itself takes there.
    """
    engine = config.rollout.engine
    number = 4 if config.model.dtype == "float32" else 2
    parallel = engine.tensor_parallel_size
    held: Parts = {"weights": number * shape.parameters / parallel}
    kept = {"a step": _step(config, shape, number) / parallel}
    if not engine.enforce_eager:
        held["CUDA graphs"] = GRAPHS
    if engine.kv_cache_gib is not None:
        cache = engine.kv_cache_gib * 2**30
    else:
        taken = sum(held.values()) + sum(kept.values()) + reserve
        cache = max(0.0, engine.gpu_memory_utilization * gpu - taken)
    held["KV cache"] = cache
    gpus = f", each of its {parallel} GPUs" if parallel > 1 else ""
    return Need(f"rollout node{gpus}", held, kept, host=_host(config, number * shape.parameters))


def _host(config: Config, version: float) -> Parts:
    """What a node holds in host memory, however many GPUs it has."""
    if config.weights.backend != "http":
        return {}  # It maps the trainer's file.
    kept = config.weights.delta_chain > 0
    return {f"{VERSION}{'' if kept else ', while it loads'}": version}


def cache_bytes(config: Config, shape: ModelShape) -> float:
    """Bytes of the KV cache that one token takes on one GPU of a node."""
    number = 4 if config.model.dtype == "float32" else 2
    # A head is never split: with more GPUs than heads, several hold the same one.
    heads = max(1.0, shape.kv_heads / config.rollout.engine.tensor_parallel_size)
    return 2 * number * shape.layers * heads * shape.head_dim


def _step(config: Config, shape: ModelShape, number: int) -> float:
    """Activations of the largest step: a layer's, a vision block's, or the logits in fp32."""
    engine = config.rollout.engine
    tokens = max(engine.max_num_batched_tokens or STEP_TOKENS, 1)
    language = number * tokens * (4 * shape.hidden + 3 * shape.intermediate)
    patches = tokens * shape.merge
    vision = number * patches * (6 * shape.vision_hidden + 3 * shape.vision_intermediate)
    logits = 3 * 4 * engine.max_num_seqs * shape.vocabulary
    return float(max(language, vision, logits))
