"""Watches a run from outside, through Redis and its metrics file, and sums it up."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from perl_rl.report.observe import RunView, look
from perl_rl.report.progress import Progress
from perl_rl.report.summary import (
    MetricsTail,
    plain_robustness,
    read_metrics,
    summarise,
    write_json,
)
from shared.config import Config
from shared.errors import WaitTimeout
from shared.records.steps import METRICS
from shared.service.connection import heeding_cancel
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""How often to look, and at most how late the display is."""


class RunWatch:
    """Shows each new step of a run and what the run is doing, and remembers its nodes.

    Args:
        folder: the run's, with ``metrics.jsonl``; steps that it holds already are not shown.
        who: names the caller when Redis stays away too long.
        describe: what to show of a view.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        progress: Progress,
        who: str,
        describe: Callable[[RunView], str] = RunView.waiting_for,
    ) -> None:
        self.view: RunView | None = None
        """The run when Redis last answered."""
        self._config = config
        self._folder = folder
        self._progress = progress
        self._who = who
        self._describe = describe
        self._keys = Keys(config.run)
        self._metrics_file = folder / METRICS
        self._metrics = MetricsTail(self._metrics_file)
        self._nodes: dict[str, NodeInfo] = {}
        self._away_since: float | None = None

    async def look(self, client: redis.asyncio.Redis) -> RunView | None:
        """Look at the run once and show it; None when Redis does not answer.

        Raises:
            WaitTimeout: when Redis has not answered for ``redis.timeout_s``.
        """
        answer: RunView | None = None
        try:
            view = await heeding_cancel(lambda: look(client, self._keys))
        except RedisError as error:
            self._check_patience(error)
            doing = f"waiting for Redis ({error})"
        else:
            self.view = answer = view
            self._away_since = None
            self._nodes |= {node.name: node for node in view.nodes}
            doing = self._describe(view)
        # After the view: a trainer that says it is done has written its last step before.
        for row in self._metrics.new():
            self._progress.step(row, self._config.trainer.steps)
            logger.info("step %d", row["step"])
        self._progress.state(doing, self.view)
        return answer

    def write_summary(
        self,
        outcome: str,
        wall_s: float,
        evaluation: Mapping[str, dict[str, Any]],
        restarts: Mapping[str, int],
    ) -> None:
        """Write ``summary.json`` of the run as last seen; `summarise` explains the arguments.

        Args:
            evaluation: ``before`` and ``after``, as far as there are: `OrderRobustness` as JSON.
        """
        assert self.view is not None, "the run was seen at least once"
        shown: dict[str, Any] = {"before": None, "after": None}
        shown |= {when: plain_robustness(result) for when, result in evaluation.items()}
        summary = summarise(
            read_metrics(self._metrics_file),
            self.view.counts,
            sorted(self._nodes.values(), key=lambda node: node.name),
            restarts,
            wall_s,
            shown,
            outcome,
            self.view.trainer,
            self._config.group_size(),
        )
        write_json(self._folder / "summary.json", summary)

    def _check_patience(self, error: RedisError) -> None:
        now, patience = time.monotonic(), self._config.redis.timeout_s
        self._away_since = self._away_since or now
        if now - self._away_since > patience:
            raise WaitTimeout(self._who, "Redis", patience, "redis.timeout_s") from error
