"""Starts the trainer's control plane, which starts the ranks."""

from pathlib import Path

from services.trainer.control.app import create_app
from services.trainer.control.plane import ControlPlane
from shared.config import Config, save_config
from shared.errors import UserError
from shared.files import make_folder
from shared.machine import hide_gpus
from shared.service.serve import Listening, redis_url, serve_service

CONFIG_FILE = "trainer-config.yaml"
"""In the run folder: the configuration as the ranks read it, overrides applied."""


def serve(config: Config, *, name: str, run_dir: Path | None, port: int | None = None) -> int:
    """Run the trainer until the run ends; 0 when it ended in good order.

    Args:
        name: of this process in the command line's log; not used here.
        run_dir: where checkpoints, weights, metrics and the final policy go.
        port: instead of ``trainer.port``.
    """
    redis_url(config, "the trainer service")
    if run_dir is None:
        raise UserError("trainer: --run-dir is needed; checkpoints and the policy go there")
    hide_gpus(config.model)
    make_folder(run_dir, "--run-dir")
    save_config(config, run_dir / CONFIG_FILE)

    async def run(listening: Listening) -> None:
        url = config.trainer.public_url or listening.url
        plane = ControlPlane(listening.client, config, run_dir / CONFIG_FILE, run_dir, url)
        app = create_app(plane, run_dir, config.security)
        await listening.run(app, plane.run, config.trainer.drain_timeout_s)

    return serve_service("trainer", config, port, run)
