"""The fields of ``metrics.jsonl``: one object for each training step.

``docs/metrics.md`` and the trainer's ``/metrics`` take each field's meaning from here.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

METRICS = "metrics.jsonl"
LOST_METRICS = "metrics.lost.jsonl"
"""Lines of steps that were trained again: after the checkpoint from which the run went on."""

_TAIL_BYTES = 1 << 20
"""More than a line takes: a step of 4,096 groups has one of about 150 kB."""


Alarm = Literal["kl", "logprob_mismatch", "canary", "nonfinite_gradient"]
"""What a step can be an alarm for."""


class StepRecord(BaseModel):
    """One training step. A group is all orders of one sample's images, with their responses."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    step: int
    """The step that was trained, counted from 1. Each step has one line. When a run goes on from a
    checkpoint, the lines of later steps move to ``metrics.lost.jsonl``: they are trained again."""
    incarnation: int = 0
    """Which start of the trainer trained it, counted from 1: it rises with each resume, also after
    a failure."""
    time: float
    """When it ended, in seconds since 1970."""
    groups: list[str]
    """Ids of the groups that were trained."""
    reward: float
    """Mean total reward of the responses in these groups."""
    accuracy: float
    """Share of right answers in these groups. They passed the filters, so it is not the accuracy of
    the policy: see ``accuracy_all``."""
    format: float
    """Share of well-formed responses in these groups."""
    reward_all: float | None
    """Mean total reward of all responses that were scored while the step was collected, those of
    dropped groups included; null when none was."""
    accuracy_all: float | None
    """Share of right answers among them."""
    format_all: float | None
    """Share of well-formed responses among them."""
    loss: float
    """The objective's value, KL term included."""
    kl: float
    """Mean divergence from the reference model (the k3 estimate), in nats per trained token."""
    clip_fraction: float
    """Share of trained tokens whose ratio was clipped."""
    entropy: float
    """Mean negative log-probability of the trained tokens under the policy, in nats."""
    grad_norm: float | None
    """L2 norm of the gradient of the step's last update, before clipping."""
    staleness_mean: float
    """Policy versions between the oldest token of a group and the step, mean over groups."""
    staleness_max: int
    """The same, of the oldest group."""
    samples: int
    """Responses that were trained on; fewer than generated when ``trainer.selection`` is set."""
    samples_generated: int
    """Responses in the trained groups."""
    noisy_orders: int
    """Orders whose images the sampler saw with noise."""
    trained_tokens: int
    """Response tokens that were trained on."""
    generated_tokens: int
    """Response tokens in the trained groups."""
    mean_response_tokens: float
    """Mean length of these responses, in tokens."""
    tokens_per_s: float
    """``generated_tokens`` per second of the step; tokens of dropped groups do not count."""
    rollout_s: float
    """Seconds to sample one order's responses, median over the step's orders."""
    reward_s: float
    """Seconds to score one order's responses, median over the step's orders."""
    wait_s: float
    """Seconds that the trainer waited for groups; before the first one, the start of the nodes does
    not count."""
    train_s: float
    """Seconds from the groups to the optimizer's step."""
    sync_s: float
    """Seconds that training stands still for the new weights: until the version before is written
    and announced, and these are copied."""
    step_s: float | None = None
    """Seconds since the step before ended; null for the first step after a start, as are the four
    fields that follow."""
    rollout_idle_share: float | None = None
    """Share of time for which the rollout nodes had no request in the engine, over the heartbeats
    that came during the step; null when none came."""
    reward_idle_share: float | None = None
    """Share of time for which the reward nodes had nothing to score, likewise."""
    trainer_idle_share: float | None = None
    """Share of ``step_s`` for which the ranks waited for groups."""
    bound_by: str | None = None
    """The stage that stood idle least: ``rollout``, ``reward`` or ``trainer``; ``hand-over`` when
    each was idle for more than a quarter of the time: they wait for each other."""
    logprob_mismatch_abs: float | None
    """Mean absolute difference between the sampler's and the trainer's log-probabilities, in nats
    per token, over tokens of the current policy version; null without such tokens."""
    logprob_mismatch_kl: float | None
    """Mean k3 divergence between sampler and trainer over the same tokens, in nats."""
    canary_change: float | None
    """Mean absolute change of log-probabilities when pictures are exchanged, in nats; near 0 means
    that the model does not look at them. Null in steps without this check."""
    alarms: list[Alarm] = []
    """What this step is an alarm for, by ``trainer.guard``: ``kl``, ``logprob_mismatch``,
    ``canary`` or ``nonfinite_gradient``."""
    guard_alarms: int
    """Alarms of ``trainer.guard`` since the ranks started."""
    refused_updates: int = 0
    """Updates since the ranks started that changed nothing, because their gradient norm was not
    finite."""
    importance_weight: float | None = None
    """Mean importance weight of the trained tokens, within its bounds; null without
    ``importance_cap`` and ``importance_floor``."""
    importance_outside: float | None = None
    """Share of trained tokens whose importance weight was beyond a bound; null likewise."""
    heldout_step: int | None = None
    """The step whose policy was evaluated on the held-out questions, if an evaluation ended since
    the step before; else null, like the figures below. ``evaluations/`` has them whole."""
    heldout_accuracy: float | None = None
    """Its accuracy over all orders."""
    heldout_worst_case: float | None = None
    """Its share of questions that were answered right under every order."""
    heldout_flip_rate: float | None = None
    """Its share of questions whose answer changes with the order."""
    groups_dropped: dict[str, int]
    """Groups that were dropped so far, by reason."""
    groups_dropped_step: dict[str, int]
    """Groups that were dropped while this step was collected, by reason."""
    dropped_share: float
    """Share of dropped groups among those that were settled for this step."""
    groups_skipped: dict[str, int] = {}
    """Questions that were skipped so far instead of being sampled, by the side on which their last
    groups carried no signal: ``easy`` or ``hard``. A question counts once for each visit."""
    groups_skipped_step: dict[str, int] = {}
    """The same, while this step was collected."""
    skipped_share: float = 0.0
    """Share of skipped ones among them and the groups that were settled for this step."""


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` as they are; a last one without its end is left out, because
    its writer was killed."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def last_record(file: Path) -> StepRecord | None:
    """The last complete line of ``metrics.jsonl``; None without one.

    Raises:
        ValueError: when it is no record of a step.
    """
    line = _last_line(file)
    return StepRecord.model_validate(json.loads(line)) if line else None


def is_after(summary: Path, metrics: Path) -> bool:
    """Whether a summary that is there was written after the last step: else the run went on.

    The step's own time counts, not that of its file: a copy of a run has its files in any order.

    Raises:
        ValueError: when the last line is no record of a step.
    """
    line = _last_line(metrics)
    return not line or summary.stat().st_mtime >= float(json.loads(line).get("time", 0.0))


def _last_line(file: Path) -> bytes:
    """The last complete line; empty without one."""
    if not file.is_file():
        return b""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _TAIL_BYTES))
        lines = stream.read().split(b"\n")
    return lines[-2] if len(lines) > 1 else b""
