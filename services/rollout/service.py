"""One rollout node: engine, weight watcher, consumer and heartbeat start and end together."""

import asyncio
import logging
import time
from functools import partial

import redis.asyncio
from fastapi import FastAPI
from vllm.v1.engine.async_llm import AsyncLLM

from services.rollout.app import open_api
from services.rollout.consumer import Consumer
from services.rollout.engine.sampler import Sampler
from services.rollout.engine.start import (
    change_weights,
    end_engine,
    engine_dtype,
    start_engine,
    tokens_computed,
)
from services.rollout.failures import EngineFailed
from services.rollout.node import Node
from services.rollout.weights.merged import Merger
from services.rollout.weights.watch import WeightWatcher
from shared.config import Config
from shared.errors import WaitTimeout
from shared.service.connection import Patience
from shared.service.heartbeat import stay_registered
from shared.service.tracing import NO_SPANS, Spans
from shared.wire.board import VersionBoard
from shared.wire.image_store import ImageStore
from shared.wire.keys import Keys
from shared.wire.registry import Registry

logger = logging.getLogger(__name__)


class RolloutService:
    """Starts and ends the parts of one node; if one fails, all end."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        config: Config,
        node: Node,
        app: FastAPI,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._client = client
        self._config = config
        self._keys = Keys(config.run)
        self._node = node
        self._patient = Patience(client, node.name, config.redis.timeout_s)
        self._app = app
        self._spans = spans
        self.engine: AsyncLLM | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`.

        Raises:
            WaitTimeout: when the node is not ready within ``rollout.start_timeout_s``.
            EngineFailed: when the engine does not start or cannot load weights.
        """
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._heartbeat()),
                group.create_task(self._drain_at(stop)),
                group.create_task(self._start_in_time()),
                group.create_task(self._end_when_stalled()),
            ]
            await self._sample(group, stop)
            for helper in helpers:
                helper.cancel()

    async def _sample(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        self.engine = engine = await start_engine(self._config, stop)
        if engine is None:
            return
        try:
            sampler = Sampler(engine, self._config, self._image_store(), self._node.name)
            open_api(self._app, engine, self._config)
            await sampler.warm_up()
            self._node.engine_up = True
            logger.info("the engine is warm; waiting for the current weights")
            board = VersionBoard(self._client, self._keys)
            change = partial(change_weights, engine)
            merger = Merger(self._config.model.path, engine_dtype(engine))
            watcher = WeightWatcher(
                *(change, board, self._node, self._config, self._patient, merger)
            )
            watching = group.create_task(watcher.run())
            consumer = Consumer(
                self._client, self._config, self._node, sampler, self._patient, self._spans
            )
            await consumer.run(stop)
            watching.cancel()
        finally:
            self.engine = None
            # On the event loop: elsewhere the engine's reader would take the end for a failure.
            end_engine(engine)

    def _image_store(self) -> ImageStore:
        return ImageStore(
            self._client,
            self._keys,
            self._config.data.max_image_pixels,
            self._config.rollout.image_cache_mib << 20,
        )

    async def _heartbeat(self) -> None:
        settings = self._config.rollout

        async def check() -> None:
            if self.engine is not None:
                await self.engine.check_health()

        await stay_registered(
            Registry(self._client, self._keys),
            self._patient,
            self._node.info,
            every_s=settings.heartbeat_s,
            lost_after_s=settings.lost_after_s,
            check=check,
        )

    async def _end_when_stalled(self) -> None:
        """End the node when its engine hangs; other nodes take its work over.

        Raises:
            EngineFailed: when requests wait and no token comes for ``rollout.stall_timeout_s``.
        """
        patience, seen = self._config.rollout.stall_timeout_s, tokens_computed()
        last = time.monotonic()
        while True:
            await asyncio.sleep(self._config.rollout.heartbeat_s)
            now, before, seen = time.monotonic(), seen, tokens_computed()
            if seen != before or self._node.idle.working == 0:
                last = now
            elif now - last > patience:
                raise EngineFailed(
                    f"{self._node.name}: the engine has {self._node.idle.working} requests and "
                    f"gave no token for {now - last:.0f} s (rollout.stall_timeout_s)"
                )

    async def _drain_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._node.set_state("draining")

    async def _start_in_time(self) -> None:
        patience = self._config.rollout.start_timeout_s
        try:
            async with asyncio.timeout(patience):
                await self._node.until(lambda node: node.state != "starting")
        except TimeoutError:
            raise WaitTimeout(
                self._node.name, "its first weights", patience, "rollout.start_timeout_s"
            ) from None
