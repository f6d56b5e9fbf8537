"""A language model behind HTTP: it rephrases, labels, judges, or is evaluated."""

import os

from pydantic import Field, field_validator

from shared.config.section import Count, Positive, Section
from shared.errors import UserError


class EndpointConfig(Section):
    """An OpenAI-compatible endpoint."""

    url: str = Field(pattern=r"\S")
    """Base address, for example ``http://127.0.0.1:8100/v1``; or several of servers of the same
    model, with a space between them, which share the requests."""
    model: str
    """Name of the model at the endpoint."""
    api_key: str | None = Field(default=None, repr=False)
    """Bearer token of the endpoint; for a rollout node, ``security.token``."""
    timeout_s: Positive = 120.0
    """Longest time that one request may take."""
    retries: int = Field(default=3, ge=0)
    """How often a request is sent again when the endpoint is busy, broken or out of reach."""
    concurrency: Count = 16
    """Most requests at the same time, to all addresses together."""
    budget: Count | None = None
    """Most requests that one process may send, cached answers not counted; empty: no limit."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        for one in url.split():
            if not one.startswith(("http://", "https://")):
                raise ValueError("must begin with http:// or https://")
        return url

    def urls(self) -> list[str]:
        """The addresses."""
        return self.url.split()


def key_from_environment(variable: str | None, command: str) -> str | None:
    """The key in an environment variable; None when `variable` is None.

    Args:
        command: named in the error.

    Raises:
        UserError: when the variable is not set or is empty.
    """
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise UserError(
            f"{command}: the environment variable {variable} is not set; give it the key"
        )
    return os.environ[variable]
