"""The routes of the weight server: a version's manifest, its whole bytes, its delta.

The kernel sends the files (``sendfile``), so that one process serves several GB/s; Starlette's file
responses copy each byte through Python. The control plane, which feeds, is another process.
"""

import asyncio
import logging
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler, Middleware

from shared.config import Config
from shared.service.auth import REFUSAL, admits
from shared.service.limits import RequestRate
from shared.weights.manifest import DATA_FILE, DELTA_FILE, MANIFEST_FILE

logger = logging.getLogger(__name__)

_FILES = {"manifest": MANIFEST_FILE, "data": DATA_FILE, "delta": DELTA_FILE}
_MAX_BODY = 1024
"""Bytes; no route reads a body."""


class _File(web.FileResponse):
    """A file that must be read within a time: a client that stops reading holds no connection."""

    def __init__(self, file: Path, limit_s: float) -> None:
        super().__init__(file)
        self._limit_s = limit_s

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send headers and file."""
        try:
            async with asyncio.timeout(self._limit_s):
                return await super().prepare(request)
        except TimeoutError:
            logger.warning(
                "%s took more than %g s to read %s", request.remote, self._limit_s, request.path
            )
            if request.transport is not None:
                request.transport.abort()
            return None


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
        return _File(file, limit_s)

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
