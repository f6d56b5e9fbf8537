"""The fields of ``summary.json``; ``docs/metrics.md`` takes each one's meaning from here."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class RunSummary(BaseModel):
    """What a whole run did. Medians and means are over the steps in ``metrics.jsonl``."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    outcome: str
    """``done`` when the run did what its configuration asked, ``interrupted``, or ``failed: `` and
    the reason."""
    steps: int
    """Steps that were trained."""
    resumed_after: list[int]
    """Steps after which the run went on from a checkpoint, with ``--resume`` or after a failure; 0:
    from the start. Empty: it ran in one go."""
    groups: dict[str, Any]
    """The ledger at the end: groups ``issued``, ``trained``, ``dropped`` (by reason) and
    ``in_flight``; the first number is the sum of these three. ``skipped`` (by side) were not
    issued."""
    accuracy_all: dict[str, float | None]
    """Mean ``accuracy_all`` of the ``first`` and of the ``last`` ten steps."""
    dropped_share: float | None
    """Mean share of dropped groups."""
    skipped_share: float | None
    """Mean share of questions that were skipped before they were sampled."""
    responses: int
    """Responses of all groups that were trained or dropped; ``trainer.max_responses`` bounds it."""
    samples_trained: int
    """Responses that were trained on."""
    samples_generated: int
    """Responses in the trained groups."""
    wall_s: float
    """Seconds from the start of the services to the end of training, of this launch only."""
    step_s: float | None
    """Mean seconds of a step, without the first one after each start."""
    idle_share: dict[str, float | None]
    """Share of these steps' time for which each stage stood idle, as measured: ``rollout`` (no
    request in the engines), ``reward`` (nothing to score) and ``trainer`` (waiting for groups)."""
    bound_by: str | None
    """The stage that stood idle least, so that the others waited for it; ``hand-over`` when each
    was idle for more than a quarter of the time."""
    rollout_s: float | None
    """Median seconds to sample one order's responses."""
    reward_s: float | None
    """Median seconds to score one order's responses."""
    train_s: float | None
    """Median seconds of a step's training."""
    wait_s: float | None
    """Median seconds that a step waited for groups."""
    sync_s: float | None
    """Median seconds to write and announce a version."""
    sync_paused_s: float | None
    """Median seconds that an engine was paused to load a version."""
    generated_tokens: int
    """Response tokens in the trained groups."""
    tokens_per_s: float | None
    """Median of the steps' ``tokens_per_s``."""
    logprob_mismatch: dict[str, float | None]
    """Mean difference between sampler and trainer: ``abs`` and ``kl``, as in ``metrics.jsonl``."""
    dtype: str
    """Number type that the ranks computed in; empty when they did not start."""
    device: str
    """What they computed on: ``cuda`` or ``cpu``."""
    nodes: list[dict[str, Any]]
    """The last state of each node: versions loaded and skipped, entries done, all sampled
    ``tokens``, restarts."""
    eval: dict[str, Any]
    """``before`` and ``after`` training: accuracy over all orders, ``worst_case`` (right under
    every order), ``flip_rate``, ``accuracy_by_slot``, by source, with 95 % bootstrap intervals;
    null without held-out data."""
