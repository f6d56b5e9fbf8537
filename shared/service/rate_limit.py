"""Bounds how many requests one client address may send: a token bucket for each."""

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_UNLIMITED = ("/healthz", "/readyz")
_CLIENTS = 10_000


class RateLimit:
    """ASGI middleware: status 429 for a client that sends more than `per_s` requests a second.

    A client may send a second's worth at once. Health routes are not counted. Clients are told
    apart by address; the one not heard of for longest is forgotten first, so memory is bounded.
    """

    def __init__(
        self, app: ASGIApp, per_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in _UNLIMITED:
            client = scope.get("client")
            if not self._admit(client[0] if client else ""):
                refusal = JSONResponse(
                    {
                        "detail": f"more than {self._per_s:g} requests a second "
                        "(security.max_requests_per_s); send fewer"
                    },
                    status_code=429,
                    headers={"Retry-After": "1"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, client: str) -> bool:
        now, most = self._clock(), max(1.0, self._per_s)
        left, then = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - then) * self._per_s)
        self._buckets[client] = (max(0.0, left - 1.0) if left >= 1.0 else left, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return left >= 1.0
