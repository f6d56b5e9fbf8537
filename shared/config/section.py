"""The base class and the number types of all parts of the configuration."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of every part of the configuration."""

    # docs/configuration.md takes the description of a key from the text under its field.
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def heard_before_lost(heartbeat_s: float, lost_after_s: float) -> None:
    """Check a node's settings: with too few heartbeats it would be lost between two of them.

    Raises:
        ValueError: naming both.
    """
    if heartbeat_s >= lost_after_s:
        raise ValueError(
            f"heartbeat_s ({heartbeat_s:g}) must be less than lost_after_s ({lost_after_s:g}), or "
            "every node is taken for lost between two heartbeats"
        )
