"""vLLM's engine as this project runs it: how it starts, how it changes its weights in flight."""

import asyncio
import logging
import os
import time
from pathlib import Path

import psutil
import torch
from prometheus_client import REGISTRY
from pydantic import ValidationError
from vllm.config.weight_transfer import WeightTransferConfig
from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from services.rollout.engine import media
from services.rollout.failures import EngineFailed
from services.rollout.weights.plugin import BACKEND, NODE_VARIABLE
from shared.config import Config, ModelConfig
from shared.errors import UserError, WaitTimeout
from shared.machine import TorchFacts, settled
from shared.problems import in_words
from shared.weights.manifest import Manifest, TensorDtype
from shared.wire.messages import PolicyVersion

logger = logging.getLogger(__name__)

_GPU_STEP_TOKENS = 8192

_END_S = 1.0
"""How long an engine's processes may take to end, then they are killed: they hold nothing but
memory, and would unload their modules for 5 s, one process after the other."""

_TOKEN_METRICS = ("vllm:prompt_tokens", "vllm:generation_tokens")


def engine_args(config: Config) -> AsyncEngineArgs:
    """The engine's arguments.

    Raises:
        UserError: as `model_here`.
    """
    model, engine = model_here(config), config.rollout.engine
    cache = None if engine.kv_cache_gib is None else int(engine.kv_cache_gib * 2**30)
    return AsyncEngineArgs(
        model=str(model.path),
        dtype=model.dtype,
        trust_remote_code=model.trust_remote_code,
        load_format="safetensors",
        max_model_len=engine.max_model_len,
        limit_mm_per_prompt={"image": engine.max_images, "video": 0},
        mm_processor_kwargs=model.pixel_bounds() or None,
        tensor_parallel_size=engine.tensor_parallel_size,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        kv_cache_memory_bytes=cache,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=step_tokens(engine.max_num_batched_tokens, model.device),
        enforce_eager=engine.enforce_eager,
        # The oldest group first: requests carry their entry's place in the queue.
        scheduling_policy="priority",
        # On a CPU a seeded request must be prefilled at once: vLLM rewinds its generator after a
        # partial prefill, which PyTorch's CPU generator cannot do, and the engine dies of it.
        enable_chunked_prefill=False if current_platform.is_cpu() else None,
        use_tqdm_on_load=False,
        # What the trainer divides by: the distribution that tokens were drawn from.
        logprobs_mode="processed_logprobs",
        # The model's own generation_config must not change how we sample.
        generation_config="vllm",
        weight_transfer_config=WeightTransferConfig(backend=BACKEND),
    )


def model_here(config: Config) -> ModelConfig:
    """The model's settings with the number type and the device that this machine decides.

    Raises:
        UserError: when the engine cannot compute on that device.
    """
    facts = TorchFacts(torch.__version__, torch.version.cuda, torch.cuda.is_available())
    model, line = settled(config.model, facts)
    if (model.device == "cpu") != current_platform.is_cpu():
        built, profile = ("the CPU", "gpu") if current_platform.is_cpu() else ("CUDA", "cpu")
        raise UserError(
            f"model.device {model.device}: the installed vLLM is built for {built}; run make setup "
            f"SETUP_FLAGS='--profile {profile}'"
        )
    logger.info(line)
    return model


def step_tokens(given: int | None, device: str) -> int | None:
    """How many tokens one step of the engine computes at most; None: vLLM's default.

    Args:
        given: ``rollout.engine.max_num_batched_tokens``.
        device: "cpu" or "cuda".
    """
    if given is not None or device == "cpu":
        return given
    # As vLLM's own server on an H100: started from Python, it takes 2048.
    return _GPU_STEP_TOKENS


def request_bounds(config: Config) -> dict[str, str]:
    """vLLM's environment variables that bound what one request to the API may cost.

    One of them names the reader of its pictures, which holds the bound on their pixels.
    """
    most_answers = max(config.rollout.engine.max_num_seqs, config.sampling.n)
    return {
        "VLLM_MEDIA_CONNECTOR": media.CONNECTOR,
        "VLLM_MAX_IMAGE_PIXELS": str(config.data.max_image_pixels),
        "VLLM_MAX_N_SEQUENCES": str(most_answers),
    }


async def start_engine(config: Config, stop: asyncio.Event) -> AsyncLLM | None:
    """Start the engine, off the event loop; None when `stop` came first.

    On a CPU it binds its worker within the cores that this process may run on.

    Raises:
        WaitTimeout: when it takes longer than ``rollout.start_timeout_s``.
        EngineFailed: when it does not start.
    """
    os.environ[NODE_VARIABLE] = str(os.getpid())
    os.environ.update(request_bounds(config))
    arguments = engine_args(config)
    starting = asyncio.ensure_future(asyncio.to_thread(AsyncLLM.from_engine_args, arguments))
    stopped = asyncio.ensure_future(stop.wait())
    patience = config.rollout.start_timeout_s
    await asyncio.wait({starting, stopped}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not starting.done():
        await _abandon(starting)
        if stop.is_set():
            return None
        raise WaitTimeout("rollout", "the engine to start", patience, "rollout.start_timeout_s")
    try:
        return starting.result()
    except ValidationError as error:
        raise EngineFailed(f"the engine did not start: {in_words(error.errors()[0])}") from error
    except Exception as error:
        raise EngineFailed(f"the engine did not start: {error}") from error


async def _abandon(starting: "asyncio.Future[AsyncLLM]") -> None:
    """End a start that cannot be cancelled: without its processes the constructor fails."""
    for process in psutil.Process().children(recursive=True):
        process.kill()
    try:
        engine = await starting
    except Exception:
        return
    end_engine(engine)


def end_engine(engine: AsyncLLM, patience_s: float = _END_S) -> None:
    """End the engine and its processes; nothing may be in flight.

    Args:
        patience_s: how long they may take. Of those that are killed, Python's own tracker says on
            standard error that it cleans up what they shared.
    """
    engine.shutdown(timeout=patience_s)


async def change_weights(
    engine: AsyncLLM,
    manifest: Path,
    data: Path,
    version: PolicyVersion,
    *,
    reset_caches: bool = True,
) -> float:
    """Load a fetched version while requests in flight wait; seconds that the engine was paused.

    The engine labels each sampled token with the version that its step ran with, and the label
    changes only while no step runs; so no token can get the wrong one. Requests in flight go on
    with the new weights: what they had in the caches is computed again.

    Args:
        reset_caches: False only to show what happens without.

    Raises:
        UserError: when the weights have another number type than the engine.
        EngineFailed: when the weights could not be loaded. The engine then stays paused, for it
            may hold half of them, until a later call succeeds.
    """
    _check_dtype(engine, manifest)
    began = time.monotonic()
    files = {"manifest": str(manifest), "data": str(data)}
    try:
        await engine.pause_generation(mode="keep", clear_cache=False)
        await engine.start_weight_update()
        await engine.update_weights(WeightTransferUpdateRequest(update_info=files))
        await engine.finish_weight_update(str(version))
        if reset_caches:
            await _reset_caches(engine)
        await engine.resume_generation()
    except Exception as error:
        raise EngineFailed(f"weights {version} could not be loaded: {error}") from error
    return time.monotonic() - began


def engine_dtype(engine: AsyncLLM) -> TensorDtype:
    """What the engine computes in."""
    name: TensorDtype = str(engine.model_config.dtype).removeprefix("torch.")  # type: ignore[assignment]
    return name


def _check_dtype(engine: AsyncLLM, manifest: Path) -> None:
    """vLLM would round or widen other numbers, and no log-probability would agree any more."""
    published = Manifest.model_validate_json(manifest.read_text(encoding="utf-8"))
    own = engine_dtype(engine)
    if published.dtype not in (own, None):
        raise UserError(
            f"weights {published.version} are {published.dtype}, and this node's engine computes "
            f"in {own}: set model.dtype to {published.dtype} or {own} for trainer and nodes"
        )


async def _reset_caches(engine: AsyncLLM) -> None:
    """Empty the caches that hold results of the old weights.

    The processor's cache holds resized pixels, which no weight has touched: it stays, so that an
    image is processed once. Emptying it under requests in flight could also part the front end's
    list of it from the engine's.
    """
    if not await engine.reset_prefix_cache(reset_running_requests=True):
        raise EngineFailed("the prefix cache could not be reset")
    await engine.reset_encoder_cache()


def tokens_computed() -> float:
    """Tokens that the engine of this process has read and written so far, by its own metrics."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name in _TOKEN_METRICS
        for sample in metric.samples
        if sample.name.endswith("_total")
    )
