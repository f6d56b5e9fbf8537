"""The trainer's objective: one loss with switches, and named presets of them.

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
        # So narrow a clip would cut off what is only the difference between the two engines.
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
"""What each preset sets otherwise than the fields' own defaults, which are PeRL's."""


class ObjectiveConfig(Section):
    """The objective; docs/objectives.md has the formulas. Keys that are written override those of
    the preset."""

    preset: Preset = "perl"
    """Where the other keys get their values from; the defaults below are those of ``perl``."""
    ratio: Literal["token", "sequence"] = "token"
    """The importance ratio: of each token, or of the response (the geometric mean of its
    tokens')."""
    clip_low: Positive | None = 0.2
    """The ratio is clipped below at ``1 - clip_low``; empty: not clipped."""
    clip_high: Positive | None = 0.2
    """The ratio is clipped above at ``1 + clip_high``; empty: not clipped."""
    dual_clip: float | None = Field(default=None, gt=1)
    """With a negative advantage the gain is at least ``dual_clip * advantage``; empty: no bound."""
    aggregate: Literal["response_mean", "token_mean", "constant_length", "response_sum"] = (
        "response_mean"
    )
    """How tokens add up: over a response's tokens and then over responses; over all tokens alike;
    over ``sampling.max_tokens``; or the sum of a response's tokens."""
    kl: Literal["k1", "k2", "k3"] = "k3"
    """The estimate of KL(policy || start model) from one token (Schulman, 2020)."""
    kl_coef: float = Field(default=0.01, ge=0)
    """Weight of that estimate in the loss; 0: no frozen start model is kept."""
    advantage: Literal["pooled", "per_order", "two_level"] = "pooled"
    """Which rewards a response is compared with: of all orders of its group, of its own order, or
    both."""
    per_order_weight: Fraction = 0.5
    """With ``two_level``: the share of the comparison within the order."""
    baseline: Literal["mean", "leave_one_out"] = "mean"
    """What is taken off a reward: the mean of those it is compared with, itself included or not."""
    normalise: Literal["population", "sample", "none"] = "population"
    """The standard deviation that the difference is divided by."""
    advantage_eps: Positive = 1e-6
    """Added to that standard deviation."""
    old_logprobs: Literal["sampler", "trainer"] = "sampler"
    """Whose log-probabilities the ratio starts from: those that came with the tokens, or ones that
    the trainer computes before the step's first update (a pass more for each further update)."""
    importance_cap: Positive | None = None
    """With ``old_logprobs: trainer``: each token's gain is weighted by ``p_trainer / p_sampler``,
    at most this much (truncated importance sampling); empty: not weighted."""

    def line(self) -> str:
        """The preset and every switch as it holds, in one line: ``preset=dapo clip_high=0.28``;
        an empty one is ``off``."""
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
                "importance_cap corrects from the sampler to the trainer; set old_logprobs: trainer"
            )
        return self
