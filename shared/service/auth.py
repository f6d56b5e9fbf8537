"""Bearer-token check for FastAPI routes, and the header that passes it."""

import hmac
from collections.abc import Awaitable, Callable

from fastapi import HTTPException, Request


def token_check(token: str | None) -> Callable[[Request], Awaitable[None]]:
    """A route dependency that refuses requests without `token`; None lets all through."""

    async def check(request: Request) -> None:
        if token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
            raise HTTPException(
                status_code=401,
                detail="wrong or missing token; send 'Authorization: Bearer <security.token>'",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check


def bearer(token: str | None) -> dict[str, str]:
    """The request headers that pass `token_check`."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}
