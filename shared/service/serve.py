"""How a service lives and dies: it listens, connects to Redis, works, drains and ends.

SIGTERM or SIGINT sets the stop event. The work then drains while the routes still answer. If the
work ends or fails, the routes end too and the process says why.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

import redis.asyncio
import uvicorn
from fastapi import FastAPI

from shared.config import Config, RewardConfig, TrainerConfig
from shared.config.rollout import RolloutConfig
from shared.errors import UserError, WaitTimeout
from shared.service.connection import connect
from shared.together import first_error

logger = logging.getLogger(__name__)

ServiceName = Literal["rollout", "reward", "trainer"]
"""Name of a service and of its section in the configuration."""

Work = Callable[[asyncio.Event], Awaitable[None]]
"""The background work of a service, until the stop event."""


@dataclass(frozen=True)
class Listening:
    """A service that has its port and its Redis, and is ready to run."""

    service: ServiceName
    client: redis.asyncio.Redis
    listener: socket.socket
    url: str
    """The address that the service announces."""

    async def run(self, app: FastAPI, work: Work, drain_timeout_s: float) -> None:
        """Answer requests and do `work`, as `run_service` does."""
        await run_service(self.service, app, self.listener, work, drain_timeout_s)


def redis_url(config: Config, who: str) -> str:
    """The address of Redis.

    Raises:
        UserError: when the configuration has none.
    """
    if config.redis.url is None:
        raise UserError(f"redis.url: {who} needs the address of Redis; set it")
    return config.redis.url


def serve_service(
    service: ServiceName,
    config: Config,
    port: int | None,
    body: Callable[[Listening], Awaitable[None]],
) -> int:
    """Run a service from its port to its end; 0 when it ended in good order.

    Args:
        port: instead of the configured one; 0 lets the system choose.
        body: builds the service's parts and awaits `Listening.run`.

    Raises:
        UserError: when the port is taken, or Redis is not configured or does not answer.
    """
    try:
        asyncio.run(_serve(service, config, port, body))
    except BaseExceptionGroup as several:
        raise first_error(several) from None
    return 0


async def _serve(
    service: ServiceName,
    config: Config,
    port: int | None,
    body: Callable[[Listening], Awaitable[None]],
) -> None:
    settings: RolloutConfig | RewardConfig | TrainerConfig = getattr(config, service)
    redis_at = redis_url(config, f"the {service} service")
    warn_if_open(service, settings.host, config.security.token)
    listener = bind(service, settings.host, settings.port if port is None else port)
    url = announced_url(settings.host, listener.getsockname()[1], redis_at)
    client = await connect(
        redis_at, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file
    )
    try:
        await body(Listening(service, client, listener, url))
    finally:
        await client.aclose()


def bind(service: str, host: str, port: int, settings: str | None = None) -> socket.socket:
    """A listening socket for `service`.

    Args:
        settings: of the address; default: ``<service>.host and <service>.port``.

    Raises:
        UserError: when the port is taken or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UserError(
            f"{service}: cannot listen on {host}:{port} ({error.strerror}); "
            f"set {settings or f'{service}.host and {service}.port'} to a free address"
        ) from None
    return listener


def announced_url(host: str, port: int, redis_at: str) -> str:
    """The address at which others reach a service that listens on `host` and `port`.

    A service that listens on all addresses announces the one that it reaches Redis from: the others
    use Redis too, so they are on that network. Where Redis is on the same machine, it announces the
    machine's name.
    """
    if host in ("0.0.0.0", "::"):
        host = _address_towards(redis_at) or socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address_towards(redis_at: str) -> str | None:
    """This machine's address on the way to Redis; None when that way does not leave the machine."""
    there = urlsplit(redis_at)
    try:
        found = socket.getaddrinfo(there.hostname, there.port or 6379, type=socket.SOCK_DGRAM)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing: it only chooses the route
            own = str(probe.getsockname()[0])
    except OSError:
        return None
    return None if ip_address(own).is_loopback else own


def warn_if_open(service: str, host: str, token: str | None) -> None:
    """Warn when other machines reach the service and no token is set."""
    loopback = host == "localhost" or host.startswith("127.") or host == "::1"
    if token is None and not loopback:
        logger.warning(
            "%s listens on %s without a token: anyone who reaches it can use it; set "
            "security.token",
            service,
            host,
        )


async def run_service(
    service: str, app: FastAPI, listener: socket.socket, work: Work, drain_timeout_s: float
) -> None:
    """Serve `app` on `listener` and run `work(stop)` until it ends or the process is told to stop.

    Raises:
        WaitTimeout: when the work does not end within `drain_timeout_s` after the stop event.
    """
    stop = asyncio.Event()
    # uvicorn installs its own signal handlers when it starts; ours replace them once it is up.
    app.router.lifespan_context = _on_startup(lambda: _handle_signals(stop))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=5)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    working = asyncio.ensure_future(work(stop))
    told_to_stop = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, working, told_to_stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await _within(working, drain_timeout_s, service)
    finally:
        told_to_stop.cancel()
        server.should_exit = True
        await serving


async def _within(task: asyncio.Future[None], seconds: float, service: str) -> None:
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        raise WaitTimeout(service, "work in hand to end", seconds, f"{service}.drain_timeout_s")
    task.result()


def _handle_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _on_startup(
    action: Callable[[], None],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        action()
        yield

    return lifespan
