"""The trainer's objective: one loss with switches, and named presets of the switches.

docs/objectives.md has each preset's formula and source.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from shared.config.section import Fraction, Positive, Section

Preset = Literal["perl", "perl_code", "grpo", "dr_grpo", "dapo", "gspo", "rloo"]

PRESETS: dict[str, dict[str, Any]] = {
    "perl": {},
    "perl_code": {"dual_clip": 3.0, "aggregate": "token_mean", "normalise": "sample"},
    "grpo": {"advantage": "per_order", "kl_coef": 0.04},
    "dr_grpo": {
        "advantage": "per_order",
        "normalise": "none",
        "aggregate": "constant_length",
        "kl_coef": 0.0,
    },
    "dapo": {
        "advantage": "per_order",
        "aggregate": "token_mean",
        "clip_high": 0.28,
        "kl_coef": 0.0,
    },
    "gspo": {
        "advantage": "per_order",
        "ratio": "sequence",
        "clip_low": 3e-4,
        "clip_high": 4e-4,
        "kl_coef": 0.0,
        # Such a narrow range would clip the small differences between the two engines.
        "old_logprobs": "trainer",
    },
    "rloo": {
        "advantage": "per_order",
        "baseline": "leave_one_out",
        "normalise": "none",
        "aggregate": "response_sum",
        "clip_low": None,
        "clip_high": None,
        "kl_coef": 0.0,
    },
}
"""Where each preset differs from the fields' defaults, which are PeRL's."""


class ObjectiveConfig(Section):
    """The objective; docs/objectives.md has the formulas. Keys in the file override the preset."""

    preset: Preset = "perl"
    """Sets the keys below that the file leaves out; the defaults shown are those of ``perl``."""
    ratio: Literal["token", "sequence"] = "token"
    """Importance ratio of each token, or one of the whole response (the geometric mean of its
    tokens' ratios)."""
    clip_low: Positive | None = 0.2
    """The ratio is clipped below at ``1 - clip_low``; empty: not clipped."""
    clip_high: Positive | None = 0.2
    """The ratio is clipped above at ``1 + clip_high``; empty: not clipped."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Where the advantage is negative, the gain is at least ``dual_clip * advantage``; empty: no
    bound."""
    aggregate: Literal["response_mean", "token_mean", "constant_length", "response_sum"] = (
        "response_mean"
    )
    """How the tokens' losses are combined: mean over each response and then over responses; mean
    over all tokens; each response's sum over ``sampling.max_tokens``; or each response's sum."""
    kl: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of KL(policy || start model) from one token (Schulman, 2020)."""
    kl_coef: float = Field(default=0.01, ge=0)
    """Weight of the KL estimate in the loss; 0: off, and no frozen start model is kept."""
    advantage: Literal["pooled", "per_order", "two_level"] = "pooled"
    """Which rewards a response is compared with: those of its whole group, those of its own order,
    or both."""
    per_order_weight: Fraction = 0.5
    """With ``two_level``: weight of the comparison within the order; 1: only within the order."""
    baseline: Literal["mean", "leave_one_out"] = "mean"
    """Subtracted from a reward: the mean of the rewards it is compared with, with or without
    itself."""
    normalise: Literal["population", "sample", "none"] = "population"
    """Which standard deviation the difference is divided by; ``none``: it is not divided."""
    advantage_eps: Positive = 1e-6
    """Added to the standard deviation, so that equal rewards do not divide by zero."""
    old_logprobs: Literal["sampler", "trainer"] = "sampler"
    """Denominator of the ratio: log-probabilities that came with the tokens, or those that the
    trainer computes before the step's first update (one more pass for each later update)."""
    importance_cap: Positive | None = None
    """With ``old_logprobs: trainer``: each token's gain is multiplied by ``p_trainer / p_sampler``,
    at most by this (truncated importance sampling); empty: not multiplied."""

    def line(self) -> str:
        """The preset and the value of every switch in one line: ``preset=dapo clip_high=0.28``; an
        empty value is ``off``."""
        values = self.model_dump()
        return " ".join(
            f"{name}={'off' if value is None else value}" for name, value in values.items()
        )

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**PRESETS.get(str(given.get("preset", "perl")), {}), **given}

    @model_validator(mode="after")
    def _weighted_by_something(self) -> "ObjectiveConfig":
        if self.importance_cap is not None and self.old_logprobs == "sampler":
            raise ValueError(
                "importance_cap needs old_logprobs: trainer; set it, or leave importance_cap out"
            )
        return self
