"""Starts the ranks of a worker host, with the routes by which an orchestrator watches them."""

from pathlib import Path

from services.trainer.control.ranks import HostRanks
from services.trainer.hosts.app import create_host_app
from services.trainer.hosts.follower import Follower
from shared.config import Config, save_config
from shared.errors import UserError
from shared.files import make_folder
from shared.machine import hide_gpus
from shared.service.serve import Listening, redis_url, serve_service


def join(config: Config, run_dir: Path | None, host: int, port: int | None = None) -> int:
    """Run this host's ranks until the run is done; 0 then, and when told to stop.

    Args:
        run_dir: the run's folder, the same files as on the trainer's host.
        host: 1 .. ``trainer.hosts - 1``.
        port: instead of ``trainer.port``.

    Raises:
        UserError: when the configuration has no such host, the trainer's host does not answer, or
            the ranks cannot continue.
    """
    redis_url(config, "a worker host of the trainer")
    if run_dir is None:
        raise UserError(
            "trainer join: --run-dir is needed: the folder of the run, the same on all hosts"
        )
    if not 0 < host < config.trainer.hosts:
        raise UserError(
            f"trainer join --host {host}: trainer.hosts is {config.trainer.hosts}, so the worker "
            f"hosts are 1 to {config.trainer.hosts - 1}"
        )
    hide_gpus(config.model)
    file = run_dir / f"trainer-config-{host}.yaml"
    make_folder(run_dir, "--run-dir")
    save_config(config, file)
    ranks = HostRanks(config.trainer, file, run_dir, host=host)

    async def run(listening: Listening) -> None:
        follower = Follower(listening.client, config, ranks)
        app = create_host_app(follower, config.security)
        await listening.run(app, follower.run, config.trainer.drain_timeout_s)

    return serve_service("trainer", config, port, run)
