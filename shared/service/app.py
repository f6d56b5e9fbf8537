"""What the apps of all services have in common: bounds, JSON, token, health, metrics, outages."""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Literal

from fastapi import Depends, FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.config.connections import SecurityConfig
from shared.jsonlines import NotJson, parse_json
from shared.problems import in_words
from shared.service.auth import token_check
from shared.service.connection import OUTAGE
from shared.service.limits import BodyLimit, RateLimit

logger = logging.getLogger(__name__)


class Health(BaseModel):
    """Answer of the health routes."""

    status: Literal["ok"] = "ok"


class _JsonRequest(Request):
    """A request whose body is read as the project's files are."""

    async def json(self) -> Any:
        """The body.

        Raises:
            HTTPException: 422 when it is no JSON.
        """
        try:
            return parse_json((await self.body()).decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            problem = f"not UTF-8 text at byte {error.start}"
        except NotJson as error:
            problem = f"{error}, at line {error.line}"
        raise HTTPException(422, f"the body is {problem}")


class _JsonRoute(APIRoute):
    """A route that reads its body as `_JsonRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


def service_app(
    title: str,
    security: SecurityConfig,
    responses: dict[int | str, dict[str, Any]],
    *,
    max_body: int,
    body_setting: str,
) -> tuple[FastAPI, list[Dependency]]:
    """An app with bounded requests, ``/healthz`` and ``/openapi.json``; the caller adds routes.

    Args:
        responses: descriptions by status, for ``/openapi.json``.
        max_body: the largest body of a request, in bytes.
        body_setting: the setting that the refusal of a larger body names.

    Returns:
        The app, and the token check that every route but health must depend on.
    """
    app = FastAPI(title=title, openapi_url=None, responses=responses)
    app.router.route_class = _JsonRoute
    app.add_middleware(BodyLimit, max_bytes=max_body, setting=body_setting)
    app.add_middleware(RateLimit, per_s=security.max_requests_per_s)
    app.add_exception_handler(RequestValidationError, _refuse)
    token_required: list[Dependency] = [Depends(token_check(security.token))]

    @app.get("/healthz")
    async def healthz() -> Health:
        return Health()

    # FastAPI's own route for this asks for no token, and its pages load scripts from elsewhere.
    @app.get("/openapi.json", include_in_schema=False, dependencies=token_required)
    async def document() -> JSONResponse:
        return JSONResponse(app.openapi())

    return app, token_required


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    """422 with the first mistake in a request, in one line that names the field."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    return JSONResponse({"detail": f"{field}: {in_words(first)}"}, status_code=422)


def metrics_route(
    app: FastAPI,
    registry: CollectorRegistry,
    dependencies: Sequence[Dependency] = (),
    refresh: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Add ``GET /metrics`` in Prometheus' text format.

    Args:
        dependencies: of the route; the token check.
        refresh: awaited before each answer; sets the gauges that nothing else keeps up to date.
    """

    @app.get("/metrics", include_in_schema=False, dependencies=list(dependencies))
    async def metrics() -> Response:
        if refresh is not None:
            await refresh()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def answer_outages(app: FastAPI) -> None:
    """Answer 503 and one line, not 500, to a request that needs Redis while Redis is away."""

    async def away(request: Request, error: Exception) -> JSONResponse:
        logger.warning("%s: Redis does not answer: %s", request.url.path, error)
        return JSONResponse(
            {"detail": "Redis does not answer; ask again when it is back"}, status_code=503
        )

    for kind in OUTAGE:
        app.add_exception_handler(kind, away)
