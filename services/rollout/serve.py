"""Starts one rollout node."""

import gc
from contextlib import closing
from pathlib import Path

from services.rollout.engine.environment import prepare_environment
from services.rollout.node import Node
from shared.config import Config
from shared.model_identity import refuse_adapter
from shared.named_folders import model_folder
from shared.service.serve import Listening, redis_url, serve_service
from shared.service.tracing import Spans

_ENGINE_STOP_S = 15.0
"""How long the engine may take to end after the drain; by then vLLM has killed it."""


def serve(config: Config, *, name: str, run_dir: Path | None, port: int | None) -> int:
    """Run one node until it is told to stop; 0 when it ended in good order.

    Args:
        name: of the node, unique in the run.
        run_dir: not used: a node keeps nothing.
        port: instead of ``rollout.port``.
    """
    redis_url(config, "the rollout service")
    refuse_adapter(config.model.path, "model.path")
    model_folder(config.model.path)
    prepare_environment()

    async def run(listening: Listening) -> None:
        # vLLM takes seconds to import: check the port and Redis first. What is imported stays, so
        # that collecting garbage meanwhile would be a seventh of that time for nothing.
        gc.disable()
        from services.rollout.app import create_app
        from services.rollout.service import RolloutService

        gc.enable()

        node = Node(name, listening.url)
        spans = Spans(config.run, config.tracing, "rollout", name)
        app = create_app(node, config, spans)
        service = RolloutService(listening.client, config, node, app, spans)
        # The work bounds its own drain, so that a slow answer is no failure.
        settings = config.rollout
        bound_s = settings.drain_timeout_s + settings.heartbeat_s + _ENGINE_STOP_S
        with closing(spans):
            await listening.run(app, service.run, bound_s)

    status = serve_service("rollout", config, port, run)
    # What is left of the engine must not wait for the end of Python, whose modules are gone when
    # vLLM would shut it down once more.
    gc.collect()
    return status
