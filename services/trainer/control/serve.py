"""Starts the trainer's control plane, which starts the ranks, and the weight server beside it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from services.trainer.control.app import create_app
from services.trainer.control.plane import ControlPlane
from services.trainer.control.weight_server import keep_serving
from shared.config import Config, save_config
from shared.config.connections import WEIGHTS_ADDRESS
from shared.errors import UserError
from shared.files import make_folder
from shared.machine import hide_gpus
from shared.service.serve import Listening, announced_url, bind, redis_url, serve_service
from shared.weights.manifest import SPOOL_FOLDER

CONFIG_FILE = "trainer-config.yaml"
"""In the run folder: the configuration as the ranks read it, overrides applied."""


def serve(config: Config, *, name: str, run_dir: Path | None, port: int | None = None) -> int:
    """Run the trainer until the run ends; 0 when it ended in good order.

    Args:
        name: of this process in the command line's log; not used here.
        run_dir: where checkpoints, weights, metrics and the final policy go.
        port: instead of ``trainer.port``.
    """
    redis_at = redis_url(config, "the trainer service")
    if run_dir is None:
        raise UserError("trainer: --run-dir is needed; checkpoints and the policy go there")
    hide_gpus(config.model)
    make_folder(run_dir, "--run-dir")
    file = run_dir / CONFIG_FILE
    save_config(config, file)
    asked = config.trainer.port if port is None else port

    async def run(listening: Listening) -> None:
        async with _weights_served(config, asked, file, run_dir, redis_at) as url:
            plane = ControlPlane(listening.client, config, file, run_dir, url)
            app = create_app(plane, run_dir, config.security)
            with closing(plane.spans):
                await listening.run(app, plane.run, config.trainer.drain_timeout_s)

    return serve_service("trainer", config, port, run)


@asynccontextmanager
async def _weights_served(
    config: Config, trainer_port: int, file: Path, run_dir: Path, redis_at: str
) -> AsyncIterator[str]:
    """Run the weight server, if the backend needs one; the address of the published versions."""
    weights, host = config.weights, config.trainer.host
    if weights.backend != "http":
        yield ""
        return
    with bind("trainer", host, weights.port_beside(trainer_port), WEIGHTS_ADDRESS) as listener:
        own = announced_url(host, listener.getsockname()[1], redis_at)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(keep_serving(listener, file, run_dir / SPOOL_FOLDER))
            yield f"{weights.public_url or own}/weights"
            serving.cancel()
