"""Redis as the ranks use it: plain calls from a training loop that is not asynchronous."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio

from shared.config import Config
from shared.service.connection import Patience, connect
from shared.wire.keys import Keys

T = TypeVar("T")


class Link:
    """One rank's connection; close it at the end."""

    def __init__(self, config: Config) -> None:
        settings = config.redis
        assert settings.url is not None, "the control plane has checked it"
        self._runner = asyncio.Runner()
        opening = connect(settings.url, settings.timeout_s, wait=True, ca_file=settings.ca_file)
        self.client: redis.asyncio.Redis = self._runner.run(opening)
        self.keys = Keys(config.run)
        self._patient = Patience(self.client, "trainer", settings.timeout_s)

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of work that may be repeated: it is, when Redis restarts meanwhile.

        Raises:
            WaitTimeout: when Redis stays away longer than ``redis.timeout_s``.
        """
        return self._runner.run(self._patient(work))

    def sleep(self, seconds: float) -> None:
        """Wait, with the connection kept alive."""
        self._runner.run(asyncio.sleep(seconds))

    def close(self) -> None:
        """Close the connection."""
        self._runner.run(self.client.aclose())
        self._runner.close()
