"""The reward service's HTTP routes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, HTTPException

from services.reward.judge import JudgeUnavailable
from services.reward.metrics import Metrics
from services.reward.penalties import MissingDetail
from services.reward.schemas import Score, ScoreRequest
from services.reward.scoring import FunctionFailed, Scorer
from shared.config import RewardConfig
from shared.config.connections import SecurityConfig
from shared.grading.grade import UngradableGold
from shared.service.app import Health, answer_outages, metrics_route, service_app
from shared.together import together

logger = logging.getLogger(__name__)


def create_app(
    config: RewardConfig,
    security: SecurityConfig,
    scorer: Scorer,
    metrics: Metrics,
    ready: Callable[[], bool],
    refresh_metrics: Callable[[], Awaitable[None]] | None = None,
) -> FastAPI:
    """The routes; all but health want the token when one is configured.

    Args:
        ready: whether the node takes work.
        refresh_metrics: sets gauges before ``/metrics`` answers.
    """
    app, token_required = service_app(
        "PeRL reward",
        security,
        {
            500: {"description": "A custom reward function failed"},
            503: {"description": "The node is starting or draining, or Redis does not answer"},
            504: {"description": "Not scored within reward.task_timeout_s"},
        },
        max_body=config.max_request_mib * 2**20,
        body_setting="reward.max_request_mib",
    )
    answer_outages(app)

    @app.get("/readyz")
    async def readyz() -> Health:
        if not ready():
            raise HTTPException(503, "the reward service is starting or draining")
        return Health()

    @app.post("/score", dependencies=token_required)
    async def score(requests: list[ScoreRequest]) -> list[Score]:
        """Score responses, in the order given."""
        try:
            async with asyncio.timeout(config.task_timeout_s):
                return await together(
                    _score(scorer, place, one) for place, one in enumerate(requests)
                )
        except TimeoutError:
            raise HTTPException(
                504,
                f"not scored within reward.task_timeout_s ({config.task_timeout_s:g} s); send "
                "fewer responses at a time",
            ) from None

    metrics_route(app, metrics.registry, dependencies=token_required, refresh=refresh_metrics)
    return app


async def _score(scorer: Scorer, place: int, request: ScoreRequest) -> Score:
    try:
        reward = await scorer.score(
            request.response, request.answer, request.kind, details=request.details()
        )
    except UngradableGold as error:
        raise HTTPException(422, f"item {place}, field 'answer': {error}") from None
    except MissingDetail as error:
        raise HTTPException(422, f"item {place}, field '{error.field}': {error}") from None
    except JudgeUnavailable as error:
        raise HTTPException(503, f"item {place}: not scored; {error}") from None
    except FunctionFailed as error:
        logger.exception("item %d was not scored", place)
        raise HTTPException(500, f"item {place}: not scored; {error}") from None
    return Score.of(reward)
