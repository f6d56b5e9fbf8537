"""Starts the ranks of a further host, with the routes by which an orchestrator watches them."""

import asyncio
from pathlib import Path

from services.trainer.control.ranks import HostRanks
from services.trainer.hosts.app import create_host_app
from services.trainer.hosts.follower import Follower
from shared.config import Config, save_config
from shared.errors import UserError
from shared.service.app import bind, run_service, warn_if_open
from shared.service.connection import connect


def join(config: Config, run_dir: Path | None, host: int, port: int | None = None) -> int:
    """Run this host's ranks until the run is done; 0 then, and when told to stop.

    Args:
        run_dir: the run's folder, the same files as on the trainer's host.
        host: 1 .. ``trainer.hosts - 1``.
        port: instead of ``trainer.port``.

    Raises:
        UserError: when the configuration has no such host, the trainer's host does not answer, or
            the ranks cannot go on.
    """
    if config.redis.url is None:
        raise UserError("redis.url: the ranks of a further host need the address of Redis")
    if run_dir is None:
        raise UserError("trainer join: --run-dir is needed: the folder of the run, on all hosts")
    if not 0 < host < config.trainer.hosts:
        raise UserError(
            f"trainer join --host {host}: trainer.hosts is {config.trainer.hosts}, so the further "
            f"hosts are 1 to {config.trainer.hosts - 1}"
        )
    file = run_dir / f"trainer-config-{host}.yaml"
    run_dir.mkdir(parents=True, exist_ok=True)
    save_config(config, file)
    ranks = HostRanks(config.trainer, file, run_dir, host=host)
    asyncio.run(
        _join(config, config.redis.url, ranks, config.trainer.port if port is None else port)
    )
    return 0


async def _join(config: Config, redis_url: str, ranks: HostRanks, port: int) -> None:
    warn_if_open("trainer", config.trainer.host, config.security.token)
    listener = bind("trainer", config.trainer.host, port)
    client = await connect(
        redis_url, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file
    )
    try:
        follower = Follower(client, config, ranks)
        app = create_host_app(follower, config.security)
        await run_service("trainer", app, listener, follower.run, config.trainer.drain_timeout_s)
    finally:
        await client.aclose()
