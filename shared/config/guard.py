"""Checks of the trainer that the model still uses its images and agrees with the sampler."""

from pydantic import Field

from shared.config.section import Count, Positive, Section


class GuardConfig(Section):
    """When the trainer raises an alarm and when it stops the run (ARCHITECTURE.md)."""

    mismatch_warn_above: Positive = 0.05
    """Alarm when the log-probabilities of trainer and sampler differ by more than this, as a mean
    over those tokens of a step that the version in training sampled."""
    mismatch_stop_above: Positive | None = 0.5
    """Stop the run when that mean, over ``window`` steps, is larger than this; empty: never."""
    window: Count = 3
    """Steps that the decision to stop looks at together."""
    kl_warn_above: Positive | None = 1.0
    """Alarm when a step's mean divergence from the start model (``kl`` in ``metrics.jsonl``, nats a
    token) is larger than this: the policy has left it and rewards mean little; empty: never."""
    max_nonfinite_steps: Count = 3
    """Stop the run after this many steps in a row in which an update's gradient norm was not
    finite. Such an update changes nothing; its groups are dropped as ``nonfinite_gradient``."""
    canary_every_steps: int = Field(default=50, ge=0)
    """Every so many steps the trainer swaps the images of one group and checks that its
    log-probabilities change; 0: never."""
    canary_warn_below: float = Field(default=1e-4, ge=0)
    """Alarm when the mean absolute change of a token's log-probability is smaller than this."""
    canary_stop_below: float | None = Field(default=None, ge=0)
    """Stop the run when that change is smaller than this; empty: never."""
