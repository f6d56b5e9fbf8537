"""A live rollout node that integration tests share: starting an engine takes most of a minute.

It is the real service, in a thread with an event loop of its own: real engine, Redis and HTTP.
Tests talk to it as the other services do: weights by announcement, tasks by stream.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import redis.asyncio
import torch
import uvicorn
from transformers import AutoModelForImageTextToText

from services.rollout.app import create_app
from services.rollout.engine.start import request_bounds
from services.rollout.node import Node
from services.rollout.service import RolloutService
from shared.config import Config
from shared.service.auth import bearer
from shared.service.connection import connect
from shared.service.serve import bind
from shared.weights.manifest import Adapter
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion
from tests.served_weights import ServedWeights

T = TypeVar("T")

TOKEN = "integration-token"
PATIENCE_S = 120.0


class LiveNode:
    """The node, and the hands to work it from a test's thread."""

    def __init__(self, config: Config, publisher: ServedWeights) -> None:
        self.config = config
        self.keys = Keys(config.run)
        self.publisher = publisher
        self.version = PolicyVersion(incarnation=1, step=0)
        """Published last."""
        self.node: Node
        self.service: RolloutService
        self.client: redis.asyncio.Redis
        self.ready_without_weights: httpx.Response
        """What /readyz said before the first version was announced."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: list[asyncio.Task[None]] = []

    def do(self, work: Coroutine[Any, Any, T], patience_s: float = PATIENCE_S) -> T:
        """Run `work` on the node's event loop and give its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(patience_s)

    async def start(self) -> None:
        """Start everything; the node waits for its first version."""
        assert self.config.redis.url is not None
        self.client = await connect(self.config.redis.url, 30.0)
        listener = bind("rollout", "127.0.0.1", 0)
        self.node = Node("rollout-0", f"http://127.0.0.1:{listener.getsockname()[1]}")
        app = create_app(self.node, self.config)
        self.service = RolloutService(self.client, self.config, self.node, app)
        self._stop = asyncio.Event()
        self.working = asyncio.create_task(self.service.run(self._stop))
        self._tasks = [asyncio.create_task(_server(app).serve(sockets=[listener]))]

    async def end(self) -> None:
        """Drain and end, as on SIGTERM."""
        self._stop.set()
        async with asyncio.timeout(60):
            await self.working
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.aclose()

    def close(self) -> None:
        """End the event loop's thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def publish(
        self, weights: dict[str, torch.Tensor], adapter: Adapter | None = None
    ) -> PolicyVersion:
        """Publish a new version and wait until the node samples with it."""
        version = self.announce(weights, adapter)
        self.do(self.until_loaded(version))
        return version

    def announce(
        self, weights: dict[str, torch.Tensor], adapter: Adapter | None = None
    ) -> PolicyVersion:
        """Publish a new version, of the policy's weights or an adapter's."""
        version = PolicyVersion(incarnation=1, step=self.version.step + 1)
        self.publisher.write(version, weights, adapter)
        self.do(self.announce_written(version))
        return version

    async def announce_written(self, version: PolicyVersion) -> None:
        """Announce a version that the publisher has on disk."""
        self.version = version
        board = VersionBoard(self.client, self.keys)
        await board.announce(version, f"{self.publisher.url}/{version}")

    async def get(self, path: str) -> httpx.Response:
        """GET from the node's routes, with the token."""
        async with httpx.AsyncClient(headers=bearer(TOKEN), trust_env=False) as client:
            return await client.get(self.node.url + path, timeout=PATIENCE_S)

    async def until_loaded(self, version: PolicyVersion) -> None:
        """Wait until the node samples with `version` or a newer one."""
        async with asyncio.timeout(PATIENCE_S):
            await self.node.until(lambda node: node.has(version) and node.ready)


def _server(app: Any) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters of a saved model in float32, as the trainer names them."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def live_config(redis_url: str, model: Path) -> Config:
    """The node's configuration: a small engine, short times, and a token."""
    return Config.model_validate(
        {
            "run": "live",
            "redis": {"url": redis_url},
            "security": {"token": TOKEN},
            "model": {
                "path": model,
                # So that a difference between sampler and trainer is no rounding.
                "dtype": "float32",
                "min_pixels": 56 * 56,
                "max_pixels": 84 * 84,
            },
            "data": {
                "train": "unused.jsonl",
                "instruction": "Answer in \\boxed{}.",
                "max_image_pixels": 1_000_000,
            },
            "sampling": {"max_tokens": 512},
            "rollout": {
                "heartbeat_s": 0.5,
                "lost_after_s": 3.0,
                "concurrent_tasks": 16,
                "task_timeout_s": 60.0,
                "engine": {
                    "max_model_len": 1024,
                    "max_images": 8,
                    "enforce_eager": True,
                    "kv_cache_gib": 1,
                },
            },
            "trainer": {},
            "weights": {"fetch_timeout_s": 30.0},
        }
    )


@contextmanager
def running_node(redis_url: str, models: tuple[Path, Path], versions: Path) -> Iterator[LiveNode]:
    """A node that samples with the first model's weights, its first version."""
    config = live_config(redis_url, models[0])
    live = LiveNode(config, ServedWeights(versions, config, bucket_bytes=1 << 20))
    before = os.environ.copy()
    live.do(live.start())
    live.do(_until_up(live), patience_s=240)
    live.ready_without_weights = live.do(live.get("/readyz"))
    # The engine's processes have what they need; others that tests start must not inherit it.
    os.environ.clear()
    os.environ.update(before | request_bounds(live.config))
    live.publish(weights_of(models[0]))
    yield live
    live.do(live.end())
    live.publisher.close()
    live.close()


async def _until_up(live: LiveNode) -> None:
    while live.service.engine is None:
        if live.working.done():
            live.working.result()
        await asyncio.sleep(0.1)
