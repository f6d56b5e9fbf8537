"""Rollout nodes with a simulated engine: everything is real except the generation of tokens.

For the fault suite, where many nodes die often, and for benchmarks with many nodes. The consumer,
the claims, the heartbeat, the images, the prompt's token ids and the fetching of weights are those
of the rollout service. Instead of sampling, a node pauses and then draws right or wrong answers.
Several nodes share one process. SIGUSR1 makes its engines hang, SIGUSR2 lets them continue.
"""

import argparse
import asyncio
import contextlib
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoProcessor

from services.rollout.consumer import Consumer
from services.rollout.node import Node
from services.rollout.weights.merged import Merger
from services.rollout.weights.watch import WeightWatcher
from shared import logs
from shared.config import Config, load_config
from shared.prompting import messages
from shared.service.connection import OUTAGE, Patience, connect
from shared.weights.manifest import Manifest
from shared.wire.board import VersionBoard
from shared.wire.image_store import ImageStore
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion, PromptTask, Response, TrajectoryBatch, VersionSpan
from shared.wire.registry import Registry


async def take_weights(manifest: Path, data: Path, version: PolicyVersion) -> float:
    """Check that a fetched version is complete, and discard it."""
    said = Manifest.model_validate_json(manifest.read_text())
    assert (said.version, said.nbytes) == (version, data.stat().st_size)
    return 0.0


class SimulatedSampler:
    """Answers tasks with tokens of given texts; about half of them are right."""

    def __init__(
        self, config: Config, images: ImageStore, node: Node, processor: Any, pause_s: float
    ) -> None:
        self._config = config
        self._images = images
        self._node = node
        self._processor = processor
        self._pause_s = pause_s
        self.going = asyncio.Event()
        """Cleared while the engine must hang."""
        self.going.set()
        self._prompts: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}

    async def sample(self, task: PromptTask, priority: int = 0) -> TrajectoryBatch:
        """Like `services.rollout.engine.sampler.Sampler.sample`."""
        pictures = await self._images.get(list(task.images))
        rng = random.Random(task.seed)
        await asyncio.sleep(self._pause_s * rng.uniform(0.5, 1.5))
        await self.going.wait()
        key = (task.question, task.images)
        if key not in self._prompts:
            self._prompts[key] = await asyncio.to_thread(self._see, task.question, pictures)
        texts = [task.answer if rng.random() < 0.5 else "none of them" for _ in range(task.n)]
        return TrajectoryBatch(
            task=task,
            node=self._node.name,
            **self._prompts[key],
            responses=tuple(self._response(text) for text in texts),
            sampled_s=self._pause_s,
        )

    def _see(self, question: str, pictures: list[Image.Image]) -> dict[str, Any]:
        """The batch's fields that show what an engine would have seen."""
        text = self._processor.apply_chat_template(
            messages(question, self._config.data.instruction),
            add_generation_prompt=True,
            tokenize=False,
        )
        seen = self._processor(text=[text], images=pictures)
        return {
            "prompt_token_ids": np.array(seen["input_ids"][0]),
            "image_grids": seen["image_grid_thw"].tolist(),
        }

    def _response(self, answer: str) -> Response:
        text = f"<think></think>\\boxed{{{answer}}}"
        ids = self._processor.tokenizer(f"{text}<|im_end|>")["input_ids"]
        version = self._node.version
        assert version is not None, "no weights yet; a node needs them before it takes tasks"
        return Response(
            token_ids=ids,
            logprobs=np.full(len(ids), -6.0),
            versions=(VersionSpan(version=version, tokens=len(ids)),),
            text=text,
            finish_reason="stop",
        )


async def run_node(
    config: Config,
    name: str,
    processor: Any,
    pause_s: float,
    stop: asyncio.Event,
    going: asyncio.Event | None = None,
) -> None:
    """Run one node from its registration to its end, like `services.rollout.service`.

    If cancelled, it disappears without a message, like a killed process.

    Args:
        going: cleared while the engine must give no answer; None: it always answers.
    """
    assert config.redis.url is not None
    client = await connect(config.redis.url, config.redis.timeout_s, wait=True)
    keys, node = Keys(config.run), Node(name, "http://simulated")
    patient = Patience(client, name, config.redis.timeout_s)
    images = ImageStore(client, keys, config.data.max_image_pixels, 32 << 20)
    registry = Registry(client, keys)
    sampler: Any = SimulatedSampler(config, images, node, processor, pause_s)
    sampler.going = going or sampler.going

    async def heartbeat() -> None:
        while True:
            await patient(lambda: registry.heartbeat(node.info(), config.rollout.lost_after_s))
            await asyncio.sleep(config.rollout.heartbeat_s)

    async def drain() -> None:
        await stop.wait()
        node.set_state("draining")

    try:
        async with asyncio.TaskGroup() as group:
            board, merger = VersionBoard(client, keys), Merger(config.model.path, "float32")
            watcher = WeightWatcher(take_weights, board, node, config, patient, merger)
            helpers = [group.create_task(one) for one in (heartbeat(), drain(), watcher.run())]
            await Consumer(client, config, node, sampler, patient).run(stop)
            for helper in helpers:
                helper.cancel()
        with contextlib.suppress(*OUTAGE):
            await registry.leave(name)
    finally:
        await client.aclose()


async def _main(config: Config, names: list[str], pause_s: float) -> None:
    processor = AutoProcessor.from_pretrained(config.model.path)
    stop, going = asyncio.Event(), asyncio.Event()
    going.set()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, going.clear)
    loop.add_signal_handler(signal.SIGUSR2, going.set)
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(run_node(config, name, processor, pause_s, stop, going))


def main() -> None:
    """Run some nodes until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", dest="overrides", nargs="+", default=[])
    parser.add_argument("--names", nargs="+", required=True)
    parser.add_argument("--pause-s", type=float, default=0.2)
    options = parser.parse_args()
    logs.configure(options.names[0])
    config = load_config(options.config, options.overrides)
    asyncio.run(_main(config, options.names, options.pause_s))


if __name__ == "__main__":
    main()
