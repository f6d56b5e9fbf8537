"""The connections of a run: Redis, access to the services, and the transfer of weights."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from shared.config.section import Count, Positive, Section

_BESIDE_TRAINER = 10
WEIGHTS_ADDRESS = "trainer.host and weights.port"
"""The settings of the address where weights are served."""


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
        if url is not None and not url.startswith("unix://"):
            _check_address(url)
        return url


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = -1
    if port == -1:
        raise ValueError("its host or port cannot be read")
    # The client would take database 0 for anything else.
    if not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("must end in the number of a database, such as /0, behind the port")


class SecurityConfig(Section):
    """Access to the services."""

    token: str | None = Field(default=None, repr=False)
    """Bearer token that every route except health asks for; empty: access is open."""
    max_requests_per_s: Positive = 200.0
    """Requests per second that a service accepts from one client address, health not counted."""


class WeightsConfig(Section):
    """How new weights reach the rollout nodes."""

    backend: Literal["http", "filesystem"] = "http"
    """``http``: each rollout node downloads the new version, or the difference to the one that it
    has; nodes may come and go. ``filesystem``: nodes map the version from a folder that they share
    with the trainer; nothing is copied."""
    port: int | None = Field(default=None, ge=0, le=65_535)
    """With ``http``: port on ``trainer.host`` from which a process of its own serves the weights;
    default: ten more than the trainer's; 0: any free one."""
    public_url: str | None = None
    """Address at which rollout nodes reach that process; default: ``http://host:port``. Where a
    proxy adds TLS: ``https://...``."""
    folder: Path | None = None
    """With ``filesystem``: where the trainer writes the versions; nodes must see the folder under
    the same path; default: ``weights`` in the run folder."""
    bucket_mib: Count = 64
    """MiB of weights that have one checksum; a damaged bucket is fetched again, not the version."""
    keep_versions: Count = 2
    """How many published versions the trainer keeps whole on disk, the newest ones."""
    delta_chain: int = Field(default=8, ge=0)
    """With ``http``: how many versions behind a node may be and still get differences. Each takes a
    few percent of the whole version on the trainer's disk; nodes keep their version's bytes in
    shared memory. 0: nodes always download whole versions and keep nothing."""
    full_every: Count = 50
    """Every so many steps the trainer makes no difference, and all nodes download the whole
    version."""
    fetch_timeout_s: Positive = 300.0
    """Longest time to fetch one version."""

    @field_validator("public_url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url

    def port_beside(self, trainer_port: int) -> int:
        """The port of the weight server of a trainer that was told to listen on `trainer_port`."""
        if self.port is not None:
            return self.port
        return trainer_port and trainer_port + _BESIDE_TRAINER
