"""Checks the Redis that the configuration names, before anything starts."""

import asyncio

from shared.config import Config
from shared.errors import UserError
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.registry import Registry


def check_given_redis(config: Config, resume: bool) -> None:
    """Check that it answers, and that no run of this name is alive there; nothing without one.

    Raises:
        UserError: naming the setting.
    """
    if config.redis.url is not None:
        asyncio.run(_check(config, config.redis.url, resume))


async def _check(config: Config, url: str, resume: bool) -> None:
    client = await connect(url, config.redis.timeout_s, ca_file=config.redis.ca_file)
    try:
        alive, _ = await Registry(client, Keys(config.run)).nodes()
    finally:
        await client.aclose()
    if alive and not resume:
        raise UserError(
            f"redis.url: a run '{config.run}' is alive there (node {alive[0].name}); stop it, or "
            "choose another name with --set run=NAME"
        )
