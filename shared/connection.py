"""Opening Redis, with an error a person can act on."""

import redis.asyncio
from redis.exceptions import AuthenticationError, RedisError

from shared.errors import UserError


async def connect(url: str, timeout_s: float) -> redis.asyncio.Redis:
    """A client whose every command gives up after `timeout_s`, checked with a ping.

    Raises:
        UserError: when the server cannot be reached or refuses the password.
    """
    try:
        client = redis.asyncio.Redis.from_url(
            # RESP 2: streams answer with lists of entries, which is what the queues read.
            url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
        )
    except ValueError as error:
        raise UserError(f"redis.url '{without_password(url)}': {error}") from None
    try:
        await client.ping()
    except AuthenticationError as error:
        await client.aclose()
        raise UserError(f"redis.url '{without_password(url)}': {error}") from None
    except (RedisError, OSError) as error:
        await client.aclose()
        raise UserError(
            f"redis.url '{without_password(url)}': cannot reach Redis ({error}); start it, mend "
            "the address, or leave redis.url empty to let the launcher start one"
        ) from None
    return client


def without_password(url: str) -> str:
    """The address as it may appear in a log."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
