"""Starts one reward node."""

import asyncio
import contextlib
from pathlib import Path

from services.reward.app import create_app
from services.reward.consumer import Consumer
from services.reward.judge import Judge
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.config import Config
from shared.errors import UserError
from shared.grading.pool import GraderPool
from shared.service.app import bind, run_service, warn_if_open
from shared.service.connection import connect


def serve(config: Config, *, name: str, run_dir: Path | None, port: int | None = None) -> int:
    """Run a reward node until it is told to stop; 0 when it ended in good order.

    Args:
        name: of this node, unique in the run.
        run_dir: where the judge's verdicts are kept; None keeps none.
        port: instead of ``reward.port``.
    """
    if config.redis.url is None:
        raise UserError("redis.url: the reward service needs the address of Redis")
    asyncio.run(
        _serve(
            config, config.redis.url, name, run_dir, config.reward.port if port is None else port
        )
    )
    return 0


async def _serve(
    config: Config, redis_url: str, name: str, run_dir: Path | None, port: int
) -> None:
    reward = config.reward
    metrics = Metrics()
    warn_if_open("reward", reward.host, config.security.token)
    listener = bind("reward", reward.host, port)
    url = f"http://{reward.host}:{listener.getsockname()[1]}"
    client = await connect(
        redis_url, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file
    )
    try:
        async with (
            GraderPool(reward, lambda one: metrics.expressions.labels(one).inc()) as pool,
            contextlib.AsyncExitStack() as stack,
        ):
            judge = None
            if reward.judge is not None:
                cache = run_dir / "judge" if run_dir else None
                judge = Judge(reward.judge, cache, lambda one: metrics.judge.labels(one).inc())
                await stack.enter_async_context(judge)
            scorer = Scorer(reward, pool, judge, config.sampling.max_tokens)
            await pool.start()
            consumer = Consumer(client, config, scorer, metrics, name, url)
            app = create_app(
                reward,
                config.security,
                scorer,
                metrics,
                ready=lambda: consumer.state == "ready",
                refresh_metrics=consumer.refresh_metrics,
            )
            await run_service("reward", app, listener, consumer.run, reward.drain_timeout_s)
    finally:
        await client.aclose()
