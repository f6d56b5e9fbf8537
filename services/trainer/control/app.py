"""The trainer's HTTP routes: status, control, metrics."""

import asyncio
import math
from pathlib import Path
from typing import Literal

from fastapi import FastAPI, HTTPException
from prometheus_client import CollectorRegistry, Gauge
from pydantic import BaseModel

from services.trainer.control.figures import HeldOutGauges, StepFigures
from services.trainer.control.plane import ControlPlane
from shared.config.connections import SecurityConfig
from shared.records.steps import METRICS
from shared.service.app import Health, answer_outages, metrics_route, service_app
from shared.wire.counts import Counts
from shared.wire.runstate import TrainerState

_MAX_BODY = 64 * 1024
"""Bytes; no route reads a body."""


class Status(BaseModel):
    """Answer of ``GET /status``."""

    trainer: TrainerState
    groups: Counts


def create_app(plane: ControlPlane, run_dir: Path, security: SecurityConfig) -> FastAPI:
    """The control plane's routes; all but health want the token when one is configured."""
    app, token_required = service_app(
        "PeRL trainer",
        security,
        {503: {"description": "The trainer is not ready, or Redis does not answer"}},
        max_body=_MAX_BODY,
        body_setting="the trainer",
    )
    answer_outages(app)
    registry = CollectorRegistry()
    step = Gauge("perl_trainer_step", "Policy version trained last", registry=registry)
    guards = {
        name: Gauge(f"perl_trainer_{name}", text, registry=registry)
        for name, text in (
            ("logprob_mismatch", "Mean absolute difference to the sampler's log-probabilities"),
            ("canary_change", "Mean absolute change of log-probabilities with other pictures"),
            ("guard_alarms", "Alarms of the guards since the ranks started"),
            ("refused_updates", "Updates that changed nothing: no finite gradient norm"),
        )
    }
    figures = StepFigures(registry, run_dir / METRICS)
    heldout = HeldOutGauges(registry, run_dir)
    run = plane.run_gauges(registry)
    registry.register(plane.spans)
    spans_dropped = Gauge(
        "perl_trainer_rank_spans_dropped", "Spans of the ranks that were lost", registry=registry
    )
    groups = Gauge("perl_groups", "Prompt groups by state", ["state"], registry=registry)

    record_failing = Gauge(
        "perl_record_failing", "1 while settled groups cannot be written", registry=registry
    )
    unrecorded = Gauge(
        "perl_groups_unrecorded", "Settled groups that will never be written", registry=registry
    )
    stalled = Gauge(
        "perl_stalled_seconds",
        "How long a stage has had work without progress",
        ["stage"],
        registry=registry,
    )

    @app.get("/readyz")
    async def readyz() -> Health:
        state = await plane.state.get()
        if state.phase in ("starting", "failed"):
            raise HTTPException(503, f"trainer is {state.phase} {state.detail}".strip())
        return Health()

    @app.get("/status", dependencies=token_required)
    async def status() -> Status:
        return Status(trainer=await plane.state.get(), groups=await plane.ledger.counts())

    @app.post("/control/{action}", dependencies=token_required)
    async def control(action: Literal["pause", "resume", "checkpoint", "stop"]) -> TrainerState:
        """Control the trainer; takes effect between two steps."""
        if action == "resume":
            await plane.state.ask("pause", False)
        else:
            await plane.state.ask(action, True)
        return await plane.state.get()

    async def refresh() -> None:
        await asyncio.to_thread(figures.refresh)
        await asyncio.to_thread(heldout.refresh)
        await asyncio.to_thread(run.read_disk)
        for stage, seconds in plane.watchdog.seconds().items():
            stalled.labels(stage).set(seconds)
        record_failing.set(plane.recorder.failing)
        unrecorded.set(await plane.recorder.missed())
        state = await plane.state.get()
        step.set(state.step)
        spans_dropped.set(state.spans_dropped)
        await run.refresh(state)
        for name, gauge in guards.items():
            value = getattr(state, name)
            gauge.set(math.nan if value is None else value)
        counts = await plane.ledger.counts()
        groups.labels("issued").set(counts.issued)
        groups.labels("trained").set(counts.trained)
        groups.labels("in_flight").set(counts.in_flight)
        for reason, number in counts.dropped.items():
            groups.labels(f"dropped:{reason}").set(number)
        for reason, number in counts.skipped.items():
            groups.labels(f"skipped:{reason}").set(number)

    metrics_route(app, registry, dependencies=token_required, refresh=refresh)
    return app
