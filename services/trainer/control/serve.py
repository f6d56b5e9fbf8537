"""Starts the trainer's control plane, which starts the ranks."""

import asyncio
from pathlib import Path

from services.trainer.control.app import create_app
from services.trainer.control.plane import ControlPlane
from shared.config import Config, save_config
from shared.errors import UserError
from shared.service.app import bind, run_service, warn_if_open
from shared.service.connection import connect

CONFIG_FILE = "trainer-config.yaml"
"""In the run folder: the configuration as the ranks read it, overrides applied."""


def serve(config: Config, *, name: str, run_dir: Path | None, port: int | None = None) -> int:
    """Run the trainer until the run ends; 0 when it ended in good order.

    Args:
        name: what the command line's log calls this process; nothing here needs it.
        run_dir: where checkpoints, weights, metrics and the final policy go.
        port: instead of ``trainer.port``.
    """
    if config.redis.url is None:
        raise UserError("redis.url: the trainer service needs the address of Redis")
    if run_dir is None:
        raise UserError("trainer: --run-dir is needed; checkpoints and the policy go there")
    run_dir.mkdir(parents=True, exist_ok=True)
    save_config(config, run_dir / CONFIG_FILE)
    asyncio.run(
        _serve(config, config.redis.url, run_dir, config.trainer.port if port is None else port)
    )
    return 0


async def _serve(config: Config, redis_url: str, run_dir: Path, port: int) -> None:
    warn_if_open("trainer", config.trainer.host, config.security.token)
    listener = bind("trainer", config.trainer.host, port)
    client = await connect(
        redis_url, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file
    )
    # Port 0 leaves the choice to the system.
    port = listener.getsockname()[1]
    url = config.trainer.public_url or f"http://{config.trainer.host}:{port}"
    try:
        plane = ControlPlane(client, config, run_dir / CONFIG_FILE, run_dir, url)
        app = create_app(plane, run_dir / "weights", config.security)
        await run_service("trainer", app, listener, plane.run, config.trainer.drain_timeout_s)
    finally:
        await client.aclose()
