"""Starts one rollout node."""

import asyncio
import os
import socket
from pathlib import Path

from services.rollout.node import Node
from shared.config import Config
from shared.errors import UserError
from shared.service.app import bind, run_service, warn_if_open
from shared.service.connection import connect
from shared.together import first_error

_ENGINE_STOP_S = 15.0
"""What ending the engine may take after the drain; it is killed before that."""


def serve(config: Config, *, name: str, run_dir: Path | None, port: int | None) -> int:
    """Run one node until it is told to stop; 0 when it ended in good order.

    Args:
        name: of the node, unique in the run.
        run_dir: not used: a node keeps nothing.
        port: instead of ``rollout.port``.
    """
    if config.redis.url is None:
        raise UserError("redis.url: the rollout service needs the address of Redis")
    if not (config.model.path / "config.json").is_file():
        raise UserError(
            f"model.path: {config.model.path} holds no config.json; name a model folder"
        )
    # Before vLLM is imported. It says a lot, and at each load warns of layers without weights.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # The engine starts in a thread beside the event loop: its processes must not be forks of that.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    try:
        asyncio.run(_serve(config, config.redis.url, name, port))
    except BaseExceptionGroup as several:
        raise first_error(several) from None
    return 0


async def _serve(config: Config, redis_url: str, name: str, port: int | None) -> None:
    settings = config.rollout
    warn_if_open("rollout", settings.host, config.security.token)
    listener = bind("rollout", settings.host, settings.port if port is None else port)
    client = await connect(
        redis_url, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file
    )
    # vLLM takes seconds to import; what can be wrong by then should not wait for it.
    from services.rollout.app import create_app
    from services.rollout.service import RolloutService

    node = Node(name, _url(settings.host, listener.getsockname()[1]))
    app = create_app(node, config)
    service = RolloutService(client, config, node, app)
    try:
        # The work bounds its own drain, so that an answer that takes long is no failure.
        bound_s = settings.drain_timeout_s + settings.heartbeat_s + _ENGINE_STOP_S
        await run_service("rollout", app, listener, service.run, bound_s)
    finally:
        await client.aclose()


def _url(host: str, port: int) -> str:
    """Where others reach the node: a wildcard address is replaced by the machine's name."""
    return f"http://{socket.gethostname() if host in ('0.0.0.0', '::') else host}:{port}"
