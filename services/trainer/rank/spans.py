"""The trainer's part of the traces: waiting at the intake, training, publishing."""

import time
from collections.abc import Sequence

from services.trainer.rank.intake import HeldGroup
from shared.service.tracing import Spans


def trace_step(
    spans: Spans, batch: Sequence[HeldGroup], step: int, began: float, ended: float
) -> None:
    """The groups of `step`, trained from `began` to `ended`, in seconds since 1970."""
    for held in batch if spans.on else ():
        if trace := spans.of(held.group.orders[0].batch.task):
            trace.span("intake wait", held.entry.added_s, began)
            trace.span("train", began, ended, **{"perl.step": step})


def trace_publishing(spans: Spans, trained: Sequence[HeldGroup], step: int, began: float) -> None:
    """The groups whose version has just been announced."""
    for held in trained if spans.on else ():
        if trace := spans.of(held.group.orders[0].batch.task):
            trace.span("publish", began, time.time(), **{"perl.step": step})
