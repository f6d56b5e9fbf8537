"""Who may see the pages: a token where one is set, else only browsers on a name we know.

Without a token a page of another site could have its own name point to this machine and read the
run through the visitor's browser (DNS rebinding). Such a request carries that name as its
``Host``, so only addresses and the names of this machine are answered.
"""

import hashlib
import hmac
import re
import socket
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.service.auth import admits

COOKIE = "perl_view"
LOGIN = "/login"

_OPEN = re.compile(r"/healthz|/login|/static/[a-z]+\.(css|js|svg)")
"""What is answered without the token: the login form, and nothing of a run."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Access:
    """ASGI middleware: refuses who may not see the pages, and adds the security headers.

    Args:
        token: needed as ``Authorization: Bearer`` or as the cookie that the login form sets.
        names: host names under which the pages are served, besides this machine's own.
    """

    def __init__(self, app: ASGIApp, token: str | None, names: tuple[str, ...] = ()) -> None:
        self._app = app
        self._token = token
        self._names = {"localhost", socket.gethostname().lower(), *map(str.lower, names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse, or send to the login form."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if self._token is None:
            if self._known(headers.get("host", "")):
                return None
            return PlainTextResponse(
                "This name is not this machine's. Use the address that perl-rl view printed, or "
                "start it with a token.\n",
                status_code=421,
            )
        if _OPEN.fullmatch(scope["path"]) or self._admitted(headers):
            return None
        if "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"{scope.get('root_path', '')}{LOGIN}", status_code=303)
        return PlainTextResponse(
            "wrong or missing token; send 'Authorization: Bearer <token>'\n",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _known(self, host: str) -> bool:
        name = host.rpartition(":")[0] if _has_port(host) else host
        return name.lower() in self._names or _is_address(name.strip("[]"))

    def _admitted(self, headers: Headers) -> bool:
        assert self._token is not None
        given = headers.get("authorization")
        if given is not None:
            return admits(self._token, given)
        cookie = _cookie(headers.get("cookie", ""))
        return hmac.compare_digest(cookie.encode(), cookie_value(self._token).encode())


def cookie_value(token: str) -> str:
    """What the login's cookie holds: proof of the token, which it is not made from again."""
    return hmac.new(token.encode(), b"perl-rl view", hashlib.sha256).hexdigest()


async def given_token(request: Request) -> str:
    """The token that the login form sent; empty without one."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    return fields.get("token", [""])[0].strip()


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
