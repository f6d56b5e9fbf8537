"""The fields of ``metrics.jsonl``: one object for each training step.

``docs/metrics.md`` and the trainer's ``/metrics`` take each field's meaning from here.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

_TAIL_BYTES = 1 << 20
"""More than a line takes: a step of 4,096 groups has one of about 150 kB."""


class StepRecord(BaseModel):
    """One training step. A group is all orders of one sample's images, with their responses."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    step: int
    """The step that was trained, counted from 1. A step that was trained again after a resume has
    several lines; the last one counts."""
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
    """Seconds that the trainer waited for groups."""
    train_s: float
    """Seconds from the groups to the optimizer's step."""
    sync_s: float
    """Seconds that training stands still for the new weights: until the version before is written
    and announced, and these are copied."""
    logprob_mismatch_abs: float | None
    """Mean absolute difference between the sampler's and the trainer's log-probabilities, in nats
    per token, over tokens of the current policy version; null without such tokens."""
    logprob_mismatch_kl: float | None
    """Mean k3 divergence between sampler and trainer over the same tokens, in nats."""
    canary_change: float | None
    """Mean absolute change of log-probabilities when pictures are exchanged, in nats; near 0 means
    that the model does not look at them. Null in steps without this check."""
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


def last_record(file: Path) -> StepRecord | None:
    """The last complete line of ``metrics.jsonl``; None without one.

    Raises:
        ValueError: when it is no record of a step.
    """
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _TAIL_BYTES))
        lines = stream.read().split(b"\n")
    return StepRecord.model_validate(json.loads(lines[-2])) if len(lines) > 1 else None
