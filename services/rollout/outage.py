"""Repeats a Redis operation across a restart of the server, within ``redis.timeout_s``."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio

from shared.connection import OUTAGE, wait_until_back

T = TypeVar("T")


class Patience:
    """Runs operations that may be repeated: each either is one read or changes nothing twice."""

    def __init__(self, client: redis.asyncio.Redis, who: str, timeout_s: float) -> None:
        self._client = client
        self._who = who
        self._timeout_s = timeout_s

    async def __call__(self, operation: Callable[[], Awaitable[T]]) -> T:
        """The operation's result.

        Raises:
            WaitTimeout: when Redis stays away longer than ``redis.timeout_s``.
        """
        while True:
            try:
                return await operation()
            except OUTAGE:
                await wait_until_back(self._client, self._who, self._timeout_s)
