"""How long the engine stands still for new weights."""

import asyncio
import itertools
import statistics
import time
from pathlib import Path

from bench.facts import Figures
from bench.weights.rates import BUCKET
from perl_rl.demo.run import CONFIG as DEMO
from services.trainer.rank.publishers.spool import WeightSpool
from shared.config import load_config
from shared.weights.manifest import DATA_FILE
from shared.wire.messages import PolicyVersion

_REQUESTS, _BUSY_S = 16, 0.5
"""Requests in the engine during a push, and how long they run before it."""


async def pause(folder: Path, rounds: int) -> Figures:
    """How long the engine stands still for a push under load, and for the bare load when idle."""
    from vllm import SamplingParams
    from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

    from services.rollout.engine.environment import prepare_environment
    from services.rollout.engine.start import change_weights, start_engine

    prepare_environment()
    config = load_config(DEMO)
    engine = await start_engine(config, asyncio.Event())
    assert engine is not None
    from transformers import Qwen2_5_VLForConditionalGeneration

    dtype = engine.model_config.dtype
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(config.model.path, dtype=dtype)
    version = PolicyVersion(incarnation=1, step=1)
    WeightSpool(folder, BUCKET, 1).write(
        version, [(name, one.detach()) for name, one in model.named_parameters()]
    )
    manifest, data = folder / str(version) / "manifest.json", folder / str(version) / DATA_FILE

    async def bare() -> float:
        began = time.monotonic()
        await engine.start_weight_update()
        files = {"manifest": str(manifest), "data": str(data)}
        await engine.update_weights(WeightTransferUpdateRequest(update_info=files))
        await engine.finish_weight_update(str(version))
        return time.monotonic() - began

    async def sample(number: int) -> None:
        parameters = SamplingParams(max_tokens=400, ignore_eos=True, seed=number)
        async for _ in engine.generate({"prompt": "How many?"}, parameters, f"r{number}"):
            pass

    async def pushed(number: int) -> float:
        busy = [asyncio.create_task(sample(number * 100 + one)) for one in range(_REQUESTS)]
        await asyncio.sleep(_BUSY_S)
        assert not any(one.done() for one in busy)
        try:
            return await change_weights(engine, manifest, data, version)
        finally:
            for one in busy:
                one.cancel()
            await asyncio.gather(*busy, return_exceptions=True)

    seconds: dict[str, list[float]] = {"bare": [], "pushed": []}
    try:
        numbers = itertools.count()
        await bare()
        await pushed(next(numbers))
        for _ in range(rounds):
            # In turns, forth and back: what is measured second finds its files in warm caches.
            found: dict[str, list[float]] = {}
            for side in ("bare", "pushed", "pushed", "bare"):
                one_s = await bare() if side == "bare" else await pushed(next(numbers))
                found.setdefault(side, []).append(one_s)
            for side, both in found.items():
                seconds[side].append(sum(both) / len(both))
    finally:
        engine.shutdown()
    ratios = [push / load for push, load in zip(seconds["pushed"], seconds["bare"], strict=True)]
    bare_s, pushed_s = (statistics.median(seconds[name]) for name in ("bare", "pushed"))
    return {
        "bare_s": bare_s,
        "pushed_s": pushed_s,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "aim": 1.2,
    }
