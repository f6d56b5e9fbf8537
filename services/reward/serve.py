"""Starts one reward node."""

import contextlib
from pathlib import Path

from services.reward.app import create_app
from services.reward.consumer import Consumer
from services.reward.judge import Judge
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.config import Config
from shared.grading.pool import GraderPool
from shared.service.serve import Listening, serve_service
from shared.service.tracing import Spans


def serve(config: Config, *, name: str, run_dir: Path | None, port: int | None = None) -> int:
    """Run a reward node until it is told to stop; 0 when it ended in good order.

    Args:
        name: of this node, unique in the run.
        run_dir: where the judge's verdicts are kept; None keeps none.
        port: instead of ``reward.port``.
    """

    async def run(listening: Listening) -> None:
        reward, metrics = config.reward, Metrics()
        spans = Spans(config.run, config.tracing, "reward", name)
        metrics.registry.register(spans)
        async with (
            GraderPool(reward, lambda one: metrics.expressions.labels(one).inc()) as pool,
            contextlib.AsyncExitStack() as stack,
        ):
            stack.callback(spans.close)
            judge = None
            if reward.judge is not None:
                cache = run_dir / "judge" if run_dir else None
                judge = Judge(reward.judge, cache, lambda one: metrics.judge.labels(one).inc())
                await stack.enter_async_context(judge)
            scorer = Scorer(reward, pool, judge, config.sampling.max_tokens)
            await pool.start()
            consumer = Consumer(
                listening.client, config, scorer, metrics, name, listening.url, spans
            )
            app = create_app(
                reward,
                config.security,
                scorer,
                metrics,
                ready=lambda: consumer.state == "ready",
                refresh_metrics=consumer.refresh_metrics,
            )
            await listening.run(app, consumer.run, reward.drain_timeout_s)

    return serve_service("reward", config, port, run)
