"""How long the engine stands still for new weights."""

import asyncio
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

    seconds: dict[str, list[float]] = {"bare": [], "pushed": []}
    try:
        for number in range(rounds + 1):
            found = {"bare": await bare()}
            busy = [asyncio.create_task(sample(number * 100 + one)) for one in range(16)]
            await asyncio.sleep(0.5)
            assert not any(one.done() for one in busy)
            found["pushed"] = await change_weights(engine, manifest, data, version)
            for one in busy:
                one.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            if number:
                for name, one_s in found.items():
                    seconds[name].append(one_s)
    finally:
        engine.shutdown()
    bare_s, pushed_s = (statistics.median(seconds[name]) for name in ("bare", "pushed"))
    return {"bare_s": bare_s, "pushed_s": pushed_s, "ratio": pushed_s / bare_s, "aim": 1.2}
