"""Bearer-token check for FastAPI routes, and the header that passes it."""

import hmac
from collections.abc import Awaitable, Callable

from fastapi import HTTPException, Request

REFUSAL = "wrong or missing token; send 'Authorization: Bearer <security.token>'"


def token_check(token: str | None) -> Callable[[Request], Awaitable[None]]:
    """A route dependency that refuses requests without `token`; None lets all through."""

    async def check(request: Request) -> None:
        if not admits(token, request.headers.get("authorization", "")):
            raise HTTPException(
                status_code=401, detail=REFUSAL, headers={"WWW-Authenticate": "Bearer"}
            )

    return check


def admits(token: str | None, header: str) -> bool:
    """Whether a request with this ``Authorization`` header may pass; without a token all may."""
    if token is None:
        return True
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())


def bearer(token: str | None) -> dict[str, str]:
    """The request headers that pass `token_check`."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}
