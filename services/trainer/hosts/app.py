"""The HTTP routes of a worker host: health for an orchestrator, and metrics."""

from fastapi import FastAPI, HTTPException
from prometheus_client import CollectorRegistry, Gauge

from services.trainer.hosts.follower import Follower
from shared.config.connections import SecurityConfig
from shared.service.app import Health, metrics_route, service_app

_MAX_BODY = 64 * 1024
"""Bytes; no route reads a body."""


def create_host_app(follower: Follower, security: SecurityConfig) -> FastAPI:
    """A worker host's routes; all but health want the token when one is configured."""
    app, token_required = service_app(
        "PeRL trainer, worker host",
        security,
        {503: {"description": "The trainer's host 0 does not answer"}},
        max_body=_MAX_BODY,
        body_setting="the trainer",
    )
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

    @app.get("/readyz")
    async def readyz() -> Health:
        """Ready to join, whether or not ranks run. An upgrade replaces this host before host 0 and
        must not wait for ranks, which start only when both are replaced."""
        if not follower.answers():
            raise HTTPException(503, "the trainer on host 0 does not answer; waiting for it")
        return Health()

    async def refresh() -> None:
        running.set(follower.running)
        incarnation.set(follower.incarnation)
        failures.set(follower.failures)

    metrics_route(app, registry, dependencies=token_required, refresh=refresh)
    return app
