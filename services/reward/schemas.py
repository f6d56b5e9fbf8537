"""What the routes of the reward service take and give."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.sample import AnswerKind


class ScoreRequest(BaseModel):
    """One response to score."""

    model_config = ConfigDict(extra="forbid")

    response: str
    answer: str
    """The gold answer."""
    kind: AnswerKind


class Score(BaseModel):
    """The reward of one response, by component."""

    accuracy: float
    format: float
    reward: float
    extracted: str | None
    """The final answer found in the response; null when there is none."""


class Health(BaseModel):
    """Answer of the health routes."""

    status: Literal["ok"] = "ok"
