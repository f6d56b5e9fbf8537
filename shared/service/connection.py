"""Connects to Redis, with errors that say what to do, and waits while Redis restarts."""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import redis.asyncio
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.errors import UserError, WaitTimeout

logger = logging.getLogger(__name__)

T = TypeVar("T")

OUTAGE = (RedisConnectionError, RedisTimeoutError)
"""What a command raises while Redis restarts; `Patience` waits until it is back."""

_PAUSE_S = 0.2


class RedisUnreachable(UserError):
    """No Redis answers at the address."""


async def connect(
    url: str, timeout_s: float, *, wait: bool = False, ca_file: str | None = None
) -> redis.asyncio.Redis:
    """A client whose every command gives up after `timeout_s`, checked with a ping.

    Args:
        wait: for up to `timeout_s`, for a server that is starting. Services do: an orchestrator
            starts them in any order.
        ca_file: ``redis.ca_file``, for ``rediss://``; the server's name is checked in any case.

    Raises:
        RedisUnreachable: when no server answers.
        UserError: when it refuses the password or shows a certificate that another authority has
            signed.
    """
    tls: dict[str, object] = {}
    if url.startswith("rediss://"):
        if ca_file is not None and not Path(ca_file).is_file():
            raise UserError(f"redis.ca_file {ca_file}: there is no such file")
        tls = {"ssl_ca_certs": ca_file, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    elif ca_file is not None:
        raise UserError("redis.ca_file: needs an address that begins with rediss:// in redis.url")
    try:
        client = redis.asyncio.Redis.from_url(
            # RESP 2: streams answer with lists of entries, which is what the queues read.
            url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            **tls,
        )
    except ValueError as error:
        raise UserError(f"redis.url '{without_password(url)}': {error}") from None
    try:
        await (_ping_in_time(client, timeout_s) if wait else client.ping())
    except TypeError:
        # What stands behind a question mark are arguments of the first connection.
        await client.aclose()
        raise UserError(
            f"redis.url '{without_password(url)}': has an option behind '?' that there is not"
        ) from None
    except AuthenticationError as error:
        await client.aclose()
        raise UserError(f"redis.url '{without_password(url)}': {error}") from None
    except (RedisError, OSError) as error:
        await client.aclose()
        if _refused_certificate(error):
            raise UserError(
                f"redis.url '{without_password(url)}': the server's certificate is refused "
                f"({error}); name its authority in redis.ca_file"
            ) from None
        raise RedisUnreachable(
            f"redis.url '{without_password(url)}': cannot reach Redis ({error}); start it, fix "
            "the address, or leave redis.url empty to let the launcher start one"
        ) from None
    return client


async def _ping_in_time(client: redis.asyncio.Redis, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            await client.ping()
            return
        except OUTAGE as error:
            # A refused password or certificate is a ConnectionError too, and waiting fixes neither.
            hopeless = isinstance(error, AuthenticationError) or _refused_certificate(error)
            if hopeless or time.monotonic() > deadline:
                raise
        await asyncio.sleep(_PAUSE_S)


def _refused_certificate(error: BaseException | None) -> bool:
    """Whether the check of the server's certificate caused `error`."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


async def wait_until_back(client: redis.asyncio.Redis, who: str, timeout_s: float) -> None:
    """Return when Redis answers again.

    Raises:
        WaitTimeout: when it does not within `timeout_s` (``redis.timeout_s``).
    """
    logger.warning("Redis does not answer; waiting up to %.0f s for it", timeout_s)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            await heeding_cancel(client.ping)
            return
        except OUTAGE:
            if time.monotonic() > deadline:
                raise WaitTimeout(who, "Redis to answer", timeout_s, "redis.timeout_s") from None
        await asyncio.sleep(_PAUSE_S)


class Patience:
    """Repeats an operation until Redis is back from a restart, within ``redis.timeout_s``.

    Only for operations that are safe to repeat: a read, or a change that counts once.
    """

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
                return await heeding_cancel(operation)
            except OUTAGE:
                await wait_until_back(self._client, self._who, self._timeout_s)


async def heeding_cancel(operation: Callable[[], Awaitable[T]]) -> T:
    """The operation's result; raises CancelledError if the operation has swallowed a cancel.

    The Redis client sends within ``asyncio.wait_for``, which in Python 3.11 loses a cancel that
    comes as the sending ends. A loop around it would never end.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await operation()
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


def without_password(url: str) -> str:
    """The address as it may appear in a log."""
    scheme, separator, rest = url.partition("://")
    # Options behind a question mark may hold a password too.
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"
