"""What the length of a response takes off its reward.

Both are for any reward function, they add up, and ``Reward.penalty`` shows what they took.
"""

from dataclasses import dataclass
from typing import Literal

from shared.config import RewardConfig
from shared.config.reward import Extraction, LengthPenaltyConfig, OverlongConfig


class MissingDetail(ValueError):
    """A penalty needs to know something of the response that is not there: `field` names it."""

    def __init__(self, field: str, setting: str) -> None:
        super().__init__(f"must be there: {setting} needs it")
        self.field = field


@dataclass(frozen=True)
class Details:
    """What is known of a response, and of its question, beyond their texts."""

    question: str | None = None
    """With its ``<image>`` tags."""
    tolerance: float | None = None
    """Relative, for numbers; None: the default."""
    extraction: Extraction | None = None
    """Where its answer is looked for; None: as ``reward.extraction`` says."""
    tokens: int | None = None
    """Length of the response."""
    finish_reason: Literal["stop", "length"] | None = None
    """``length``: it was cut off at `max_tokens`."""
    max_tokens: int | None = None
    """The most tokens that it might have had."""


UNKNOWN = Details()
"""Of a response of which nothing but the text is known."""


def penalty(config: RewardConfig, details: Details) -> float:
    """What to add to a reward for the length of its response: 0 or negative.

    Raises:
        MissingDetail: when a configured penalty needs a length that is not known.
    """
    total = 0.0
    if config.length_penalty is not None:
        total += length_penalty(
            config.length_penalty, _known(details.tokens, "tokens", "reward.length_penalty")
        )
    if config.overlong is not None:
        total += overlong_penalty(
            config.overlong,
            _known(details.tokens, "tokens", "reward.overlong"),
            _known(details.max_tokens, "max_tokens", "reward.overlong"),
        )
    return total


def length_penalty(config: LengthPenaltyConfig, tokens: int) -> float:
    """``-min(most, per_token * max(0, tokens - start_tokens))``."""
    return -min(config.most, config.per_token * max(0, tokens - config.start_tokens))


def overlong_penalty(config: OverlongConfig, tokens: int, max_tokens: int) -> float:
    """DAPO's soft overlong punishment (arXiv 2503.14476, equation 13), times ``penalty``.

    With ``start = max_tokens - buffer_tokens``: 0 up to `start` tokens,
    ``(start - tokens) / buffer_tokens`` up to `max_tokens`, -1 beyond.
    """
    start = max_tokens - config.buffer_tokens
    share = (tokens - start) / config.buffer_tokens
    return -config.penalty * min(1.0, max(0.0, share))


def _known(value: int | None, field: str, setting: str) -> int:
    if value is None:
        raise MissingDetail(field, setting)
    return value
