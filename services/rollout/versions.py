"""Names the policy versions that answered a request, in a header of the answer."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.rollout.node import Node
from shared.wire.registry import VERSIONS_HEADER


class NamesVersions:
    """Adds `VERSIONS_HEADER` to answers of the OpenAI routes.

    It has the node's version when the request came, and the one when the answer began.
    The engine may load new weights in between, so the answer's tokens are by these versions or by
    some between them. A streamed answer begins before its tokens.
    """

    def __init__(self, app: ASGIApp, node: Node) -> None:
        self._app = app
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        first = self._node.version

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start" and first is not None:
                headers = MutableHeaders(scope=message)
                headers[VERSIONS_HEADER] = f"{first} {self._node.version}"
            await send(message)

        await self._app(scope, receive, send_named)
