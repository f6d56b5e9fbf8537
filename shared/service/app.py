"""One service: what all apps have in common; its routes and background work live and die together.

SIGTERM or SIGINT sets the stop event; the work drains while the routes go on answering. If the work
ends or fails, the routes end too and the process says why.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import uvicorn
from fastapi import Depends, FastAPI
from fastapi.params import Depends as Dependency
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.config.connections import SecurityConfig
from shared.errors import UserError, WaitTimeout
from shared.service.auth import token_check
from shared.service.connection import OUTAGE
from shared.service.limits import BodyLimit, RateLimit

logger = logging.getLogger(__name__)

Work = Callable[[asyncio.Event], Awaitable[None]]


def bind(service: str, host: str, port: int) -> socket.socket:
    """A listening socket for `service`.

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
            f"set {service}.host and {service}.port to a free address"
        ) from None
    return listener


def warn_if_open(service: str, host: str, token: str | None) -> None:
    """Say so when others than this machine reach the service and no token keeps them out."""
    loopback = host == "localhost" or host.startswith("127.") or host == "::1"
    if token is None and not loopback:
        logger.warning(
            "%s listens on %s without a token: whoever reaches it may use it; set security.token",
            service,
            host,
        )


class Health(BaseModel):
    """Answer of the health routes."""

    status: Literal["ok"] = "ok"


def service_app(
    title: str,
    security: SecurityConfig,
    responses: dict[int | str, dict[str, Any]],
    *,
    max_body: int,
    body_setting: str,
) -> tuple[FastAPI, list[Dependency]]:
    """An app with bounded requests, ``/healthz`` and its own document, for routes to be added.

    Args:
        responses: descriptions by status, for the document.
        max_body: bytes that a request's body may have.
        body_setting: what to name to those who send more.

    Returns:
        The app, and the token check that every route but health has to depend on.
    """
    app = FastAPI(title=title, openapi_url=None, responses=responses)
    app.add_middleware(BodyLimit, max_bytes=max_body, setting=body_setting)
    app.add_middleware(RateLimit, per_s=security.max_requests_per_s)
    token_required: list[Dependency] = [Depends(token_check(security.token))]

    @app.get("/healthz")
    async def healthz() -> Health:
        return Health()

    # FastAPI's own route, and its pages that load scripts from elsewhere, have no guard.
    @app.get("/openapi.json", include_in_schema=False, dependencies=token_required)
    async def document() -> JSONResponse:
        return JSONResponse(app.openapi())

    return app, token_required


def metrics_route(
    app: FastAPI,
    registry: CollectorRegistry,
    dependencies: Sequence[Dependency] = (),
    refresh: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Add ``GET /metrics`` in Prometheus' text format.

    Args:
        dependencies: of the route, as for any other (the token check).
        refresh: awaited before each answer, to set gauges from what is elsewhere.
    """

    @app.get("/metrics", include_in_schema=False, dependencies=list(dependencies))
    async def metrics() -> Response:
        if refresh is not None:
            await refresh()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def answer_outages(app: FastAPI) -> None:
    """Answer 503 and one line, rather than 500, to a request that needs Redis while it is away."""

    async def away(request: Request, error: Exception) -> JSONResponse:
        logger.warning("%s: Redis does not answer: %s", request.url.path, error)
        return JSONResponse(
            {"detail": "Redis does not answer; ask again when it is back"}, status_code=503
        )

    for kind in OUTAGE:
        app.add_exception_handler(kind, away)


async def run_service(
    service: str, app: FastAPI, listener: socket.socket, work: Work, drain_timeout_s: float
) -> None:
    """Serve `app` on `listener` and run `work(stop)` until it ends or the process is told to stop.

    Raises:
        WaitTimeout: when the work does not end within `drain_timeout_s` after the stop event.
    """
    stop = asyncio.Event()
    # uvicorn installs signal handlers of its own when it starts; ours replace them once it is up.
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
