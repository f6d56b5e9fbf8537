"""The routes of the weight server: a version's manifest, its whole bytes, its delta.

The kernel sends the files (``sendfile``), so that one process serves several GB/s; Starlette's file
responses copy each byte through Python. The control plane, which feeds, is another process.
"""

import asyncio
import logging
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from shared.config import Config
from shared.service.auth import REFUSAL, admits
from shared.service.limits import RequestRate
from shared.weights.manifest import DATA_FILE, DELTA_FILE, MANIFEST_FILE

logger = logging.getLogger(__name__)

_FILES = {"manifest": MANIFEST_FILE, "data": DATA_FILE, "delta": DELTA_FILE}
_MAX_BODY = 1024
"""Bytes; no route reads a body."""


def create_app(folder: Path, config: Config) -> web.Application:
    """The routes; all but health want the token when one is configured.

    Args:
        folder: with one subfolder for each version.
    """
    app = web.Application(middlewares=[_guard(config)], client_max_size=_MAX_BODY)
    limit_s = config.weights.fetch_timeout_s

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def send(request: web.Request) -> web.StreamResponse:
        """A file of a version; accepts a ``Range`` header."""
        version = request.match_info["version"]
        file = folder / version / _FILES[request.match_info["part"]]
        if not file.is_file():
            return _refuse(404, f"version {version} is no longer kept; ask for a newer one")
        answer = web.FileResponse(file)
        try:
            # A client that stops reading must not hold the connection for ever.
            async with asyncio.timeout(limit_s):
                await answer.prepare(request)
        except TimeoutError:
            logger.warning("%s read %s for more than %g s", request.remote, request.path, limit_s)
            if request.transport is not None:
                request.transport.abort()
        return answer

    app.router.add_get("/healthz", healthz)
    app.router.add_get(r"/weights/{version:\d{1,9}\.\d{1,9}}/{part:manifest|data|delta}", send)
    return app


def _guard(config: Config) -> Middleware:
    """Refuses clients that send too many requests, or not the token."""
    rate, token = RequestRate(config.security.max_requests_per_s), config.security.token

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/healthz":
            if not rate.admit(request.remote or ""):
                return _refuse(429, rate.refusal, {"Retry-After": "1"})
            if not admits(token, request.headers.get("Authorization", "")):
                return _refuse(401, REFUSAL, {"WWW-Authenticate": "Bearer"})
        return await handler(request)

    return guard


def _refuse(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"detail": detail}, status=status, headers=headers)
