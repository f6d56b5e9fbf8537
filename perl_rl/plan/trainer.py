"""The memory of one rank of the trainer.

What ZeRO shards follows its paper (Rajbhandari et al., 2020, arXiv 1910.02054, section 5); the
activations are those that autograd keeps of transformers' models, counted tensor by tensor.
tests/integration/test_memory_plan.py compares both with a run.
"""

from dataclasses import dataclass
from typing import Any

from perl_rl.plan.parts import Need, Parts
from perl_rl.plan.shape import ModelShape
from shared.config import Config

LOGIT_TOKENS = 2048
"""Response tokens whose logits the trainer computes at a time."""


@dataclass(frozen=True)
class Chunk:
    """The largest batch that goes through the model at once."""

    tokens: int
    """Tokens of all rows, padding included."""
    row: int
    """Tokens of the longest row."""
    responses: int
    """Tokens of responses."""
    patches: int
    """Patches of all images."""


def packs(config: Config, shape: ModelShape) -> bool:
    """Whether the responses of an order share a row."""
    return shape.packs and config.trainer.packing != "replicated"


def largest_chunk(config: Config, shape: ModelShape) -> Chunk:
    """The most that the configuration allows in one chunk, and in the images of its batch."""
    engine, trainer, sampling = config.rollout.engine, config.trainer, config.sampling
    prompt = max(1, engine.max_model_len - sampling.max_tokens)
    # A prompt with a single response is never cut.
    tokens = max(
        trainer.micro_batch_tokens, min(engine.max_model_len, prompt + sampling.max_tokens)
    )
    # Without packing, each response has a row of its own.
    responses = sampling.n if packs(config, shape) else 1
    row = min(tokens, prompt + responses * sampling.max_tokens)
    pixels = config.model.max_pixels
    image = prompt if pixels is None else -(-pixels // (shape.patch_pixels * shape.merge))
    # Several groups in a batch share its tokens; each shows its images once for every order.
    orders = config.permutation.n_s + 1
    most = max(min(prompt, engine.max_images * image), tokens // orders)
    return Chunk(tokens, row, tokens, most * shape.merge)


def rank_need(
    config: Config,
    shape: ModelShape,
    deepspeed: dict[str, Any],
    chunk: Chunk | None = None,
    dense_mask: bool = True,
) -> Need:
    """The memory of one rank.

    Args:
        deepspeed: DeepSpeed's configuration.
        chunk: what is trained at a time; default: the most that the configuration allows.
        dense_mask: whether attention gets its mask as a matrix.
    """
    chunk = chunk or largest_chunk(config, shape)
    trainer = config.trainer
    held = _weights(config, shape)
    optimizer = _optimizer(config, shape, deepspeed)
    host: Parts = {}
    if trainer.optimizer.offload:
        host = optimizer
    else:
        held |= optimizer
    kept, passing = _activations(config, shape, chunk, dense_mask)
    always, meanwhile = _buffers(config, shape, deepspeed)
    held, kept = held | always, kept | meanwhile
    ranks = trainer.ranks * trainer.hosts
    name = f"trainer, each of {ranks} ranks" if ranks > 1 else "trainer"
    step = 0.0 if host else _step(config, shape, deepspeed)
    return Need(name, held, kept, passing, step, host)


def _bytes(config: Config) -> int:
    """Bytes of one number of the weights."""
    return 4 if config.model.dtype == "float32" else 2


def _shards(config: Config, from_stage: int) -> int:
    """Over how many ranks something is spread that ZeRO shards from this stage on."""
    trainer = config.trainer
    return trainer.ranks * trainer.hosts if trainer.zero_stage >= from_stage else 1


def _trained(config: Config, shape: ModelShape) -> int:
    if config.model.lora is not None:
        return shape.adapter_parameters
    frozen = shape.vision_parameters if config.trainer.freeze_vision else 0
    return shape.parameters - frozen


def _weights(config: Config, shape: ModelShape) -> Parts:
    number = _bytes(config) / _shards(config, 3)
    parts: Parts = {"weights": number * shape.parameters}
    if config.model.lora is not None:
        parts["adapter"] = number * shape.adapter_parameters
    if _has_second_model(config):
        parts["reference"] = parts["weights"]
    return parts


def _has_second_model(config: Config) -> bool:
    """Whether the KL term's reference is a model of its own, and not the policy without adapter."""
    return config.trainer.objective.kl_coef > 0 and config.model.lora is None


def _optimizer(config: Config, shape: ModelShape, deepspeed: dict[str, Any]) -> Parts:
    """Gradients, and AdamW's state with the fp32 weights that it updates."""
    trained, number = _trained(config, shape), _gradient_bytes(config, deepspeed)
    gradients = number * trained / _shards(config, 1)
    if config.trainer.zero_stage == 1 and number != _bytes(config):
        # Not sharded, and beside those that each backward pass leaves in the model's own type.
        gradients = (number + _bytes(config)) * trained
    return {
        "gradients": gradients,
        "AdamW: fp32 weights": 4 * trained / _shards(config, 1),
        "AdamW: mean and variance": 8 * trained / _shards(config, 1),
    }


def _gradient_bytes(config: Config, deepspeed: dict[str, Any]) -> int:
    """Bytes of one accumulated gradient."""
    wanted = deepspeed.get("data_types", {}).get("grad_accum_dtype")
    return {"fp32": 4, "bf16": 2, None: _bytes(config)}[wanted]


def _buffers(config: Config, shape: ModelShape, deepspeed: dict[str, Any]) -> tuple[Parts, Parts]:
    """DeepSpeed's buffers: those that are there all the time, and those of the backward pass."""
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    zero = DeepSpeedZeroConfig(**deepspeed["zero_optimization"])
    stage, ranks = config.trainer.zero_stage, config.trainer.ranks * config.trainer.hosts
    number, weight = _gradient_bytes(config, deepspeed), _bytes(config)
    if stage == 0 or (stage == 1 and number != weight):
        return {}, {}
    if stage < 3:
        buckets = 2 if zero.overlap_comm else 1
        return {}, {"gradient bucket": weight * zero.reduce_bucket_size * buckets}
    always: Parts = {"gradient bucket": number * zero.reduce_bucket_size}
    reduced = min(zero.reduce_bucket_size, _trained(config, shape))
    layer = min(shape.largest_layer, _trained(config, shape))
    meanwhile: Parts = {"gradients on their way": weight * layer + number * reduced / ranks}
    if ranks > 1:
        small = sum(one for one in shape.tensors if one <= zero.param_persistence_threshold)
        models = 2 if _has_second_model(config) else 1
        always["small parameters, whole"] = models * weight * small * (1 - 1 / ranks)
        live = min(shape.parameters, max(zero.max_live_parameters, shape.largest_layer))
        meanwhile["gathered parameters"] = weight * live * (1 - 1 / ranks)
    return always, meanwhile


def _step(config: Config, shape: ModelShape, deepspeed: dict[str, Any]) -> float:
    """Copies of the gradients for the optimizer: flat, and in fp32.

    ZeRO 3 holds them flat and makes the copies sub-group by sub-group.
    """
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    stage, number = config.trainer.zero_stage, _gradient_bytes(config, deepspeed)
    shard = _trained(config, shape) / _shards(config, 1)
    if stage == 3:
        zero = DeepSpeedZeroConfig(**deepspeed["zero_optimization"])
        return 4 * min(float(zero.sub_group_size), shard)
    if stage == 0 or number != _bytes(config):
        return 0.0
    return number * shard + (0 if number == 4 else 4 * shard)


def _activations(
    config: Config, shape: ModelShape, chunk: Chunk, dense_mask: bool
) -> tuple[Parts, Parts]:
    """What the forward pass keeps, and what its backward pass needs on top, one after the other."""
    number, saved = _bytes(config), config.trainer.gradient_checkpointing
    mask = number * chunk.tokens * chunk.row if dense_mask else 0
    layer = _layer(shape, number) * chunk.tokens + mask
    block = _vision_block(shape, number) * chunk.patches
    ends = (4 + number) * shape.hidden * chunk.tokens + number * shape.hidden * chunk.responses
    kept: Parts = {
        "language model": ends + shape.layers * (number * shape.hidden * chunk.tokens)
        if saved
        else ends + shape.layers * layer
    }
    if dense_mask:
        kept["attention mask"] = chunk.tokens * chunk.row
    if config.trains_vision:
        inside = number * shape.vision_hidden * chunk.patches if saved else block
        norm = _norm(shape.vision_hidden, number, shape.family.vision_rms)
        mergers = (1 + shape.deeper) * (norm + 2 * number * shape.vision_hidden)
        merger = mergers + number * shape.patch_values
        kept["vision tower"] = shape.vision_layers * inside + merger * chunk.patches
    kept["pixels and features"] = chunk.patches * (
        4 * shape.patch_values + (1 + shape.deeper) * number * shape.hidden / shape.merge
    )
    logits = 4 * shape.vocabulary * min(chunk.responses, LOGIT_TOKENS)
    if chunk.responses <= LOGIT_TOKENS:  # more of them are computed again in the backward pass
        kept["logits"] = logits
    # The gradients inside the feed-forward part, and of its input.
    backward = number * (shape.hidden + shape.intermediate) * chunk.tokens
    passing: Parts = {
        "gradients of the logits": (2 if "logits" in kept else 3) * logits,
        "a layer's backward pass": backward + (layer if saved else 0),
    }
    if config.trains_vision:
        width = shape.vision_hidden + shape.vision_intermediate
        gradient = number * width * chunk.patches
        passing["a vision block's backward pass"] = gradient + (block if saved else 0)
    return kept, passing


def _norm(width: int, number: int, rms: bool) -> int:
    """Bytes a token that a norm keeps: its normalised input and output; an RMS norm, which
    computes in fp32, its input in fp32 as well; a layer norm its input, and no normalised one."""
    return (2 * number + 4 * rms) * width


def _layer(shape: ModelShape, number: int) -> int:
    """Bytes a token that one decoder layer keeps for its backward pass.

    Attention keeps queries, keys and values for all heads and its output; the feed-forward part
    four tensors. Norms of queries and keys keep no output, for rotating it needs none.
    """
    norms = 2 * _norm(shape.hidden, number, rms=True)
    if shape.family.head_norms:
        norms += (4 + number) * (shape.heads + shape.kv_heads) * shape.head_dim
    attention = 4 * number * shape.heads * shape.head_dim + 4 * shape.heads
    return norms + attention + 4 * number * shape.intermediate


def _vision_block(shape: ModelShape, number: int) -> int:
    """Bytes a patch that one block of the vision tower keeps.

    As `_layer`; its attention keeps queries, keys and values in one tensor and the two rotated
    ones, and its output before and after the windows are joined.
    """
    norms = 2 * _norm(shape.vision_hidden, number, shape.family.vision_rms)
    inner = shape.family.vision_mlp * number * shape.vision_intermediate
    return norms + 7 * number * shape.vision_hidden + inner
