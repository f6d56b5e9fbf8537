"""A service's routes behind a real port, on an event loop of their own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import redis.asyncio
import uvicorn
from fastapi import FastAPI

from services.reward.app import create_app as reward_app
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.config import RewardConfig
from shared.config.connections import SecurityConfig
from shared.grading.pool import GraderPool
from shared.service.serve import bind

START_S = 60.0
ROW = '{"id": "a", "question": "?", "answer": "1", "kind": "number"}\n'

Opened = Callable[[], AbstractAsyncContextManager[FastAPI]]


@contextmanager
def served(opened: Opened) -> Iterator[str]:
    """Address of the application that `opened` gives, which lives on the serving loop."""
    listener = bind("test", "127.0.0.1", 0)
    started, servers = threading.Event(), []

    async def serve() -> None:
        async with opened() as app:
            server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
            servers.append(server)
            started.set()
            await server.serve(sockets=[listener])

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(START_S) and servers, "the application was not made"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        servers[0].should_exit = True
        thread.join(START_S)
    assert not thread.is_alive(), "the server does not end"


def reward(security: SecurityConfig) -> Opened:
    """The reward service's routes with a real grader."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[FastAPI]:
        config = RewardConfig(workers=1, max_request_mib=1)
        async with GraderPool(config) as pool:
            await pool.start()
            yield reward_app(config, security, Scorer(config, pool), Metrics(), lambda: True)

    return opened


def trainer(security: SecurityConfig, folder: Path, redis_url: str) -> Opened:
    """The trainer's routes; no rank runs. Nothing is asked of Redis before a request."""
    from services.trainer.control.app import create_app
    from services.trainer.control.plane import ControlPlane
    from shared.config import Config
    from tests.scripted_sampler import demo_config

    @asynccontextmanager
    async def opened() -> AsyncIterator[FastAPI]:
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / "train.jsonl").write_text(ROW)
        config = Config.model_validate(demo_config(folder, redis_url))
        client = redis.asyncio.Redis.from_url(redis_url, protocol=2, socket_timeout=5.0)
        plane = ControlPlane(client, config, folder / "config.yaml", folder, "http://here")
        yield create_app(plane, folder, security)
        await client.aclose()

    return opened


def trainer_host(security: SecurityConfig, folder: Path, redis_url: str) -> Opened:
    """The routes of a worker host of the trainer, which follows nobody yet."""
    from services.trainer.control.ranks import HostRanks
    from services.trainer.hosts.app import create_host_app
    from services.trainer.hosts.follower import Follower
    from shared.config import Config
    from tests.scripted_sampler import demo_config

    @asynccontextmanager
    async def opened() -> AsyncIterator[FastAPI]:
        config = Config.model_validate(demo_config(folder, redis_url, hosts=2))
        client = redis.asyncio.Redis.from_url(redis_url, protocol=2, socket_timeout=5.0)
        ranks = HostRanks(config.trainer, folder / "config.yaml", folder, host=1)
        yield create_host_app(Follower(client, config, ranks), security)
        await client.aclose()

    return opened


def rollout(security: SecurityConfig, folder: Path) -> Opened:
    """The rollout service's routes before its engine is there."""
    from services.rollout.app import create_app
    from services.rollout.node import Node
    from shared.config import Config
    from tests.scripted_sampler import demo_config

    @asynccontextmanager
    async def opened() -> AsyncIterator[FastAPI]:
        settings = demo_config(folder, "redis://127.0.0.1:1/0") | {"security": security}
        settings["rollout"] = settings.get("rollout", {}) | {"max_request_mib": 1}
        yield create_app(Node("n", "http://n"), Config.model_validate(settings))

    return opened
