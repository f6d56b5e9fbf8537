"""Guards of the trainer against a model that has silently gone blind."""

from pydantic import Field

from shared.config.section import Count, Positive, Section


class GuardConfig(Section):
    """When the trainer raises an alarm, and when it stops (ARCHITECTURE.md)."""

    mismatch_warn_above: Positive = 0.05
    """Alarm when trainer and sampler differ by more than this in log-probability, in the mean over
    a step's tokens that the trained version sampled."""
    mismatch_stop_above: Positive | None = 0.5
    """Stop when the mean over ``window`` steps is larger; empty: never."""
    window: Count = 3
    """Steps that are looked at together before the trainer stops."""
    canary_every_steps: int = Field(default=50, ge=0)
    """Every so many steps the pictures of a group are exchanged and its log-probabilities computed
    again: they have to react. 0: never."""
    canary_warn_below: float = Field(default=1e-4, ge=0)
    """Alarm when the mean absolute change of a token's log-probability is smaller."""
    canary_stop_below: float | None = Field(default=None, ge=0)
    """Stop when it is smaller; empty: never."""
