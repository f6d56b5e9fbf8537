"""The HTTP routes of a further host: health for an orchestrator, and metrics."""

from typing import Literal

from fastapi import Depends, FastAPI, HTTPException
from prometheus_client import CollectorRegistry, Gauge
from pydantic import BaseModel

from services.trainer.follower import Follower
from shared.auth import token_check
from shared.body_limit import BodyLimit
from shared.config.connections import SecurityConfig
from shared.rate_limit import RateLimit
from shared.service import document_route, metrics_route

_MAX_BODY = 64 * 1024
"""Bytes; no route reads a body."""


class Health(BaseModel):
    """Answer of the health routes."""

    status: Literal["ok"]


def create_host_app(follower: Follower, security: SecurityConfig) -> FastAPI:
    """A further host's routes; all but health want the token when one is configured."""
    app = FastAPI(
        title="PeRL trainer, further host",
        openapi_url=None,
        responses={503: {"description": "The trainer's own host is not heard from"}},
    )
    app.add_middleware(BodyLimit, max_bytes=_MAX_BODY, setting="the trainer")
    app.add_middleware(RateLimit, per_s=security.max_requests_per_s)
    guarded = [Depends(token_check(security.token))]
    registry = CollectorRegistry()
    running = Gauge(
        "perl_trainer_host_ranks_running", "1 while this host's ranks run", registry=registry
    )
    incarnation = Gauge(
        "perl_trainer_host_incarnation", "Incarnation that the ranks joined last", registry=registry
    )
    failures = Gauge(
        "perl_trainer_host_failures",
        "How often this host's ranks failed since it started",
        registry=registry,
    )

    @app.get("/healthz")
    async def healthz() -> Health:
        return Health(status="ok")

    @app.get("/readyz")
    async def readyz() -> Health:
        """Ready to join: not whether ranks run. An upgrade replaces this host before the trainer's
        own, and must not wait for ranks that only come up once both are replaced."""
        if not follower.answers():
            raise HTTPException(503, "the trainer on host 0 is not heard from; waiting for it")
        return Health(status="ok")

    async def refresh() -> None:
        running.set(follower.running)
        incarnation.set(follower.incarnation)
        failures.set(follower.failures)

    metrics_route(app, registry, dependencies=guarded, refresh=refresh)
    document_route(app, guarded)
    return app
