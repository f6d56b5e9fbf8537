"""Where Redis is, who may talk to the services, and how weights travel."""

from typing import Literal

from pydantic import Field

from shared.config.section import Count, Positive, Section


class RedisConfig(Section):
    """Where the queues are."""

    url: str | None = Field(default=None, repr=False)
    """``redis://[[user]:password@]host:port/db``, ``rediss://`` for TLS; empty: the launcher starts
    one of its own."""
    ca_file: str | None = None
    """With ``rediss://``: the PEM file of the authorities that may have signed the server's
    certificate; default: the system's."""
    timeout_s: Positive = 30.0
    """How long one Redis command may take."""


class SecurityConfig(Section):
    """Who may talk to the services."""

    token: str | None = Field(default=None, repr=False)
    """When set, every route but health wants it as a bearer token."""
    max_requests_per_s: Positive = 200.0
    """Requests a second that a service takes from one client address; health is not counted."""


class WeightsConfig(Section):
    """How new weights reach the rollout nodes."""

    backend: Literal["http"] = "http"
    """``http``: each node fetches the new version from the trainer."""
    bucket_mib: Count = 64
    """Bytes of one request, and the unit of verification."""
    keep_versions: Count = 2
    """Published versions that the trainer keeps on disk."""
    fetch_timeout_s: Positive = 300.0
    """The longest one version may take to fetch and load."""
