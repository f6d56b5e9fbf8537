"""Refuses requests whose body is larger than a limit, before it is held in memory."""

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: status 413 for more than `max_bytes` of body, whatever its header says."""

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
