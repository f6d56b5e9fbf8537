"""Bounds on requests: how large a body may be, and how many one client may send in a second."""

import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_UNLIMITED = ("/healthz", "/readyz")
_CLIENTS = 10_000


class BodyLimit:
    """ASGI middleware: status 413 for a body of more than `max_bytes`, before it is in memory.

    Counts what arrives: the header with the length may be wrong or missing.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, setting: str) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._setting = setting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body as the application reads it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = f"the request is larger than {self._setting} allows; send it in parts"
        if int(Headers(scope=scope).get("content-length", "0")) > self._max_bytes:
            await JSONResponse({"detail": refusal}, status_code=413)(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                raise HTTPException(413, refusal)
            return message

        await self._app(scope, counted, send)


class RequestRate:
    """How many requests a second each client may send.

    Each client address has a token bucket that holds one second's worth, so that many may come at
    once. The client heard from longest ago is forgotten first, so memory is bounded.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.refusal = (
            f"more than {per_s:g} requests a second (security.max_requests_per_s); send fewer"
        )

    def admit(self, client: str) -> bool:
        """Count a request of the client at that address; False when it is one too many."""
        now, most = self._clock(), max(1.0, self._per_s)
        left, then = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - then) * self._per_s)
        self._buckets[client] = (max(0.0, left - 1.0) if left >= 1.0 else left, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return left >= 1.0


class RateLimit:
    """ASGI middleware: status 429 for a client that sends more than `per_s` requests a second.

    Health routes are not counted.
    """

    def __init__(
        self, app: ASGIApp, per_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._rate = RequestRate(per_s, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in _UNLIMITED:
            client = scope.get("client")
            if not self._rate.admit(client[0] if client else ""):
                refusal = JSONResponse(
                    {"detail": self._rate.refusal}, status_code=429, headers={"Retry-After": "1"}
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
