"""The connections of a run: Redis, access to the services, and the transfer of weights."""

from typing import Literal

from pydantic import Field, field_validator

from shared.config.section import Count, Positive, Section


class RedisConfig(Section):
    """The Redis server that holds the queues."""

    url: str | None = Field(default=None, repr=False)
    """``redis://[[user]:password@]host:port/db``, ``rediss://`` for TLS; empty: the launcher starts
    its own server."""
    ca_file: str | None = None
    """With ``rediss://``: PEM file of the authorities trusted to sign the server's certificate;
    default: the system's."""
    timeout_s: Positive = 30.0
    """Longest time that one Redis command may take."""

    @field_validator("url")
    @classmethod
    def _has_a_scheme(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url


class SecurityConfig(Section):
    """Access to the services."""

    token: str | None = Field(default=None, repr=False)
    """Bearer token that every route except health asks for; empty: access is open."""
    max_requests_per_s: Positive = 200.0
    """Requests per second that a service accepts from one client address, health not counted."""


class WeightsConfig(Section):
    """How new weights reach the rollout nodes."""

    backend: Literal["http"] = "http"
    """``http``: each rollout node downloads the new version from the trainer."""
    bucket_mib: Count = 64
    """MiB of weights in one request; each such bucket is verified by its checksum."""
    keep_versions: Count = 2
    """How many published versions the trainer keeps on disk, the newest ones."""
    fetch_timeout_s: Positive = 300.0
    """Longest time to fetch and load one version."""
