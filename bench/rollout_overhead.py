"""Measure the rollout service's overhead: tokens per second through its stream and without it.

Both ways use the same engine, prompts, parameters and number of concurrent tasks, in turns within
one process. The aim is a ratio of at least 0.95. Run it on an otherwise idle machine:

    python -m bench.rollout_overhead [--tasks 256] [--rounds 5] [--tokens 32]
"""

import argparse
import asyncio
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import redis.asyncio
from PIL import Image
from transformers import AutoProcessor
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.v1.engine.async_llm import AsyncLLM

from perl_rl.demo.model import build_model, build_processor, save
from perl_rl.launch.embedded_redis import embedded_redis
from services.rollout.consumer import Consumer
from services.rollout.engine.sampler import Sampler, sampling_parameters
from services.rollout.engine.start import start_engine
from services.rollout.node import Node
from shared.config import Config
from shared.images import digest
from shared.prompting import messages
from shared.sample import Sample
from shared.service.connection import Patience, connect
from shared.wire.image_store import ImageStore
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, PromptTask, SamplingSettings
from shared.wire.queues import WorkStream

VERSION = PolicyVersion(incarnation=1, step=0)
ANSWERS = 6
IMAGES = 200


def main() -> None:
    """Print the tokens per second of each round and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    with tempfile.TemporaryDirectory() as name, embedded_redis(Path(name) / "redis") as server:
        sizes = (options.tasks, options.rounds, options.tokens)
        rates = asyncio.run(compare(Path(name), server.url, *sizes))
    if options.json:
        options.json.write_text(json.dumps(rates, indent=2) + "\n")


async def compare(
    folder: Path, url: str, count: int, rounds: int, tokens: int
) -> dict[str, list[float]]:
    """Measure both ways in turns and print the ratio; the tokens per second of each round."""
    config = prepare(folder, url)
    engine = await start_engine(config, asyncio.Event())
    assert engine is not None
    client = await connect(url, 30.0)
    try:
        await engine.update_weight_version(str(VERSION))
        bench = Bench(config, engine, client, count, tokens)
        rates: dict[str, list[float]] = {"engine": [], "service": []}
        for number in range(rounds + 1):
            ways = (("engine", bench.direct), ("service", bench.service))
            for way, run in ways[:: -1 if number % 2 else 1]:
                rate = await run(number)
                if number:
                    rates[way].append(rate)
                    print(f"round {number} {way:8} {rate:8.0f} tokens/s", flush=True)
        ratio = statistics.median(rates["service"]) / statistics.median(rates["engine"])
        print(f"service / engine = {ratio:.3f} (aim: at least 0.95)")
        return rates
    finally:
        await client.aclose()
        engine.shutdown()


def prepare(folder: Path, url: str) -> Config:
    """Write a tiny model; returns a configuration for it."""
    processor = build_processor()
    save(build_model(processor, 0), processor, folder / "model")
    return Config.model_validate(
        {
            "run": "bench",
            "redis": {"url": url},
            "model": {"path": folder / "model"},
            "data": {"train": "unused.jsonl"},
            "sampling": {"max_tokens": 512},
            "rollout": {
                "concurrent_tasks": 32,
                "engine": {
                    "max_model_len": 1024,
                    "max_images": 8,
                    "enforce_eager": True,
                    "kv_cache_gib": 1,
                },
            },
            "trainer": {},
        }
    )


class Bench:
    """Runs the same tasks both ways."""

    def __init__(
        self,
        config: Config,
        engine: AsyncLLM,
        client: redis.asyncio.Redis,
        count: int,
        tokens: int,
    ) -> None:
        self._config, self._engine, self._client = config, engine, client
        self._keys = Keys(config.run)
        self._samples = [_sample(index) for index in range(count)]
        pool = [_picture(index) for index in range(IMAGES)]
        self._bytes = {f"image-{index}": data for index, data in enumerate(pool)}
        self._pictures = {
            name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in self._bytes.items()
        }
        self._settings = SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=tokens)
        self._node = Node("bench", "http://bench")
        self._node.loaded(VERSION, 0.0)
        self._node.set_state("ready")
        store = ImageStore(client, self._keys, 10**7, config.rollout.image_cache_mib << 20)
        self._sampler = Sampler(engine, config, store, "bench")
        self._processor = AutoProcessor.from_pretrained(config.model.path)

    async def direct(self, number: int) -> float:
        """Tokens per second of the engine alone, with as many concurrent prompts as the service."""
        await self._empty_caches()
        slots = asyncio.Semaphore(self._config.rollout.concurrent_tasks)

        async def one(index: int) -> int:
            async with slots:
                return await self._generate(self._samples[index], index, f"{number}-{index}")

        began = time.monotonic()
        tokens = sum(await asyncio.gather(*map(one, range(len(self._samples)))))
        return tokens / (time.monotonic() - began)

    async def _generate(self, sample: Sample, index: int, name: str) -> int:
        text = self._processor.apply_chat_template(
            messages(sample.question, self._config.data.instruction),
            add_generation_prompt=True,
            tokenize=False,
        )
        prompt = {
            "prompt": text,
            "multi_modal_data": {"image": [self._pictures[file] for file in sample.images]},
            "multi_modal_uuids": {"image": list(sample.images)},
        }
        parsed = parse_model_prompt(self._engine.model_config, prompt)
        [rendered] = await self._engine.renderer.render_cmpl_async([parsed])
        parameters = sampling_parameters(self._settings, ANSWERS, 1000 * index)
        tokens = 0
        async for output in self._engine.generate(rendered, parameters, name):
            tokens = sum(len(answer.token_ids) for answer in output.outputs)
        return tokens

    async def service(self, number: int) -> float:
        """Tokens per second through the stream and the consumer, until all trajectories arrived."""
        ledger = Ledger(self._client, self._keys)
        for index, sample in enumerate(self._samples):
            images = {digest(self._bytes[file]): self._bytes[file] for file in sample.images}
            await ledger.issue([self._task(sample, index, number)], images)
        trajectories = WorkStream(self._client, self._keys.trajectories, "bench")
        await trajectories.create()
        await self._empty_caches()
        patient = Patience(self._client, "bench", 30.0)
        consumer = Consumer(self._client, self._config, self._node, self._sampler, patient)
        stop, before, began = asyncio.Event(), self._node.tokens, time.monotonic()
        working = asyncio.create_task(consumer.run(stop))
        left = len(self._samples)
        while left:
            left -= len(await trajectories.read(100, 1.0))
        rate = (self._node.tokens - before) / (time.monotonic() - began)
        stop.set()
        await working
        return rate

    def _task(self, sample: Sample, index: int, number: int) -> PromptTask:
        return PromptTask(
            run=self._config.run,
            group_id=f"{number}-{index}",
            sample_id=sample.id,
            source=sample.source,
            order_index=0,
            orders=1,
            permutation=tuple(range(len(sample.images))),
            question=sample.question,
            images=tuple(digest(self._bytes[file]) for file in sample.images),
            answer=sample.answer,
            kind=sample.kind,
            n=ANSWERS,
            sampling=self._settings,
            seed=1000 * index,
            issued_at=VERSION,
        )

    async def _empty_caches(self) -> None:
        await self._engine.reset_prefix_cache()
        await self._engine.reset_encoder_cache()


def _sample(index: int) -> Sample:
    names = tuple(f"image-{(7 * index + place) % IMAGES}" for place in range(3))
    question = f"A. <image>\nB. <image>\nC. <image>\nWhich shows the number {index}?"
    return Sample(id=str(index), question=question, images=names, answer="A", kind="letter")


def _picture(index: int) -> bytes:
    squares = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(squares).resize((56, 56)).save(data, "PNG")
    return data.getvalue()


if __name__ == "__main__":
    main()
