"""A language model that is asked over HTTP: to rephrase, to label, to judge, to be evaluated."""

import os

from pydantic import Field

from shared.config.section import Count, Positive, Section
from shared.errors import UserError


class EndpointConfig(Section):
    """An OpenAI-compatible endpoint."""

    url: str
    """Base address, e.g. ``http://127.0.0.1:8100/v1``."""
    model: str
    """The model's name there."""
    api_key: str | None = Field(default=None, repr=False)
    """Bearer token; a rollout node wants ``security.token``."""
    timeout_s: Positive = 120.0
    """The longest one request may take."""
    retries: int = Field(default=3, ge=0)
    """How often a request that failed by no fault of its own is sent again."""
    concurrency: Count = 16
    """Requests under way at a time."""
    budget: Count | None = None
    """The most requests of one process; answers from the cache are free."""


def key_from_environment(variable: str | None, command: str) -> str | None:
    """The key that an environment variable holds; None without a variable.

    Raises:
        UserError: in the name of `command`, when the variable is not set.
    """
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise UserError(
            f"{command}: the environment variable {variable} should hold a key; it is not set"
        )
    return os.environ[variable]
