"""The trainer's objective: one loss with switches, and named presets of the switches.

docs/objectives.md has each preset's formula and source.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from shared.config.section import Fraction, Positive, Section

Preset = Literal["perl", "perl_code", "grpo", "dr_grpo", "dapo", "gspo", "rloo", "cispo"]

PRESETS: dict[str, dict[str, Any]] = {
    "perl": {},
    "perl_code": {
        "dual_clip": 3.0,
        "aggregate": "token_mean",
        "normalise": "sample",
        "kl_clamp": 10.0,
    },
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
    "cispo": {
        "surrogate": "cispo",
        "advantage": "per_order",
        "aggregate": "token_mean",
        "clip_low": None,
        "clip_high": 4.0,
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
    surrogate: Literal["ppo", "cispo"] = "ppo"
    """A token's gain: PPO's ``min(r A, clip(r) A)``, or CISPO's ``clip(r) A log p``, in which the
    clipped ratio is a weight without a gradient."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Where the advantage is negative, the gain is at least ``dual_clip * advantage``; empty: no
    bound."""
    aggregate: Literal["response_mean", "token_mean", "constant_length", "response_sum"] = (
        "response_mean"
    )
    """How the tokens' losses are combined: mean over each response and then over responses; mean
    over all tokens; each response's sum over ``sampling.max_tokens``; or each response's sum."""
    mask_truncated: bool = False
    """Responses that were cut off at ``sampling.max_tokens`` add nothing to the loss; they still
    count in its divisor and in the advantages of the others."""
    kl: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of KL(policy || start model) from one token (Schulman, 2020)."""
    kl_coef: float = Field(default=0.01, ge=0)
    """Weight of the KL estimate in the loss; 0: off, and no frozen start model is kept."""
    kl_clamp: Positive | None = None
    """The KL estimate of a token is clamped to this value on both sides, and has no gradient beyond
    it; empty: not clamped."""
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
    """With ``old_logprobs: trainer``: each token's gain is multiplied by its importance weight
    ``p_trainer / p_sampler``, at most this; empty: no upper bound. Without either bound, gains are
    not multiplied."""
    importance_floor: Positive | None = None
    """The smallest importance weight; empty: no lower bound."""
    importance_level: Literal["token", "sequence"] = "token"
    """The importance weight of each token, or one of the whole response: the product of its tokens'
    weights."""
    importance_outside: Literal["truncate", "mask"] = "truncate"
    """What happens to a weight beyond a bound: it is set to the bound, or to 0."""
    importance_normalise: bool = False
    """Divide the importance weights by their mean over the update, after the bounds are applied;
    costs one more pass without gradient."""

    def line(self) -> str:
        """The preset and the value of every switch in one line: ``preset=dapo clip_high=0.28``; an
        empty value is ``off``, as false is."""
        return " ".join(f"{name}={_word(value)}" for name, value in self.model_dump().items())

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**PRESETS.get(str(given.get("preset", "perl")), {}), **given}

    @property
    def importance_weighted(self) -> bool:
        """Whether gains are multiplied by importance weights."""
        return self.importance_cap is not None or self.importance_floor is not None

    @model_validator(mode="after")
    def _weighted_by_something(self) -> "ObjectiveConfig":
        cap, floor = self.importance_cap, self.importance_floor
        for name, bound in (("importance_cap", cap), ("importance_floor", floor)):
            if bound is not None and self.old_logprobs == "sampler":
                raise ValueError(f"{name} needs old_logprobs: trainer; set it, or leave {name} out")
        if cap is not None and floor is not None and floor >= cap:
            raise ValueError(
                f"importance_floor ({floor:g}) must be less than importance_cap ({cap:g})"
            )
        for name in ("importance_level", "importance_outside", "importance_normalise"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default and not self.importance_weighted:
                raise ValueError(
                    f"{name} needs importance_cap or importance_floor; set one, or leave {name} out"
                )
        return self

    @model_validator(mode="after")
    def _clips_one_surrogate(self) -> "ObjectiveConfig":
        if self.surrogate == "cispo" and self.dual_clip is not None:
            raise ValueError("dual_clip bounds PPO's gain; leave it out with surrogate: cispo")
        return self


def _word(value: object) -> object:
    if value is None or isinstance(value, bool):
        return "on" if value else "off"
    return value
