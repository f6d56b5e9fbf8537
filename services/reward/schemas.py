"""What the routes of the reward service take and give."""

from pydantic import BaseModel, ConfigDict, Field

from services.reward.penalties import Details
from shared.config.reward import Extraction
from shared.sample import AnswerKind
from shared.wire.messages import Reward


class ScoreRequest(BaseModel):
    """One response to score."""

    model_config = ConfigDict(extra="forbid")

    response: str
    answer: str
    """The gold answer."""
    kind: AnswerKind
    question: str | None = None
    """What was asked, for the judge."""
    tolerance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Relative, for kind `number`."""
    extraction: Extraction | None = None
    """Where its answer is looked for; default: `reward.extraction`."""
    tokens: int | None = Field(default=None, ge=0)
    """Length of the response; wanted where penalties are configured."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The longest response there might have been; default: `sampling.max_tokens`."""

    def details(self) -> Details:
        """All that is not response, answer or kind."""
        return Details(
            question=self.question,
            tolerance=self.tolerance,
            extraction=self.extraction,
            tokens=self.tokens,
            max_tokens=self.max_tokens,
        )


class Score(BaseModel):
    """The reward of one response, by component."""

    accuracy: float
    format: float
    penalty: float
    """What its length added to the reward: 0 or negative."""
    reward: float
    extracted: str | None
    """The final answer found in the response; null when there is none."""
    steps: list[bool] | None
    """The verdict on each step of the gold answer; null for kinds other than `steps`."""

    @classmethod
    def of(cls, reward: Reward) -> "Score":
        """The score that a reward is shown as."""
        return cls(
            accuracy=reward.accuracy,
            format=reward.format,
            penalty=reward.penalty,
            reward=reward.total,
            extracted=reward.extracted,
            steps=None if reward.steps is None else list(reward.steps),
        )
