"""A reward node's background work: has trajectory batches scored, many at a time.

A batch whose attempt failed is left for another attempt, and is a dead letter after
``reward.max_attempts``. While a judge is away, the node keeps the batches that wait for it.
"""

import asyncio
import contextlib
import logging
import time

import redis.asyncio

from services.reward.assembly import Assembly
from services.reward.filters import build_filters
from services.reward.group_rewards import GroupRewards
from services.reward.judge import JudgeAway, JudgeUnavailable
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.config import Config
from shared.errors import UserError
from shared.service.connection import OUTAGE, Patience
from shared.service.heartbeat import stay_registered
from shared.service.idle import IdleClock
from shared.service.tracing import NO_SPANS, Spans
from shared.service.worker import StreamWorker
from shared.together import first_error
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.queues import Entry, WorkStream
from shared.wire.registry import NodeInfo, NodeState, Registry

logger = logging.getLogger(__name__)

JUDGE_FAILED = "judge_failed"
"""Reason of a group with an order on which the judge gave no verdict."""


class Consumer:
    """One node's work on the `trajectories` stream, and its heartbeat."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        config: Config,
        scorer: Scorer,
        metrics: Metrics,
        name: str,
        url: str,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._client = client
        self._keys = keys = Keys(config.run)
        self._config = config.reward
        self._metrics = metrics
        self._name, self._url = name, url
        self._patient = Patience(client, "reward", config.redis.timeout_s)
        self._stream = WorkStream(client, keys.trajectories, consumer=name)
        self._assembly = Assembly(
            self._stream,
            Ledger(client, keys),
            scorer,
            GroupRewards(config.reward),
            build_filters(
                config.reward.filter,
                per_order=config.trainer.objective.advantage == "per_order",
            ),
            metrics,
            spans,
            recorded=config.record.dropped > 0,
        )
        self._in_work: set[str] = set()
        self._worker = StreamWorker(
            self._stream,
            self._patient,
            config.reward,
            handle=self._handle,
            give_up=self._give_up,
            failed=self._failed,
            fatal=UserError,
            in_work=self._in_work,
        )
        self._done = 0
        self._idle = IdleClock()

    @property
    def state(self) -> NodeState:
        """What the heartbeat says of the node."""
        return self._worker.state

    async def run(self, stop: asyncio.Event) -> None:
        """Take work until `stop`, then finish what is in hand; the caller bounds the drain.

        Raises:
            UserError: when no grader process can be started, or Redis stays away.
        """
        self._stop = stop
        try:
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(self._heartbeat())
                await self._worker.run(stop)
                beating.cancel()
        except BaseExceptionGroup as several:
            raise first_error(several) from None

    async def refresh_metrics(self) -> None:
        """Set the gauges to what is true now."""
        self._metrics.in_work.set(len(self._in_work))
        for queue in ("prompts", "trajectories", "groups", "dead_letters"):
            length = await self._client.xlen(getattr(self._keys, queue))
            self._metrics.queue.labels(queue).set(length)

    async def _heartbeat(self) -> None:
        await stay_registered(
            Registry(self._client, self._keys),
            self._patient,
            self._info,
            every_s=self._config.heartbeat_s,
            lost_after_s=self._config.lost_after_s,
        )

    def _info(self) -> NodeInfo:
        idle_s, measured_s = self._idle.seconds()
        return NodeInfo(
            name=self._name,
            kind="reward",
            url=self._url,
            state=self.state,
            working_on=len(self._in_work),
            done=self._done,
            idle_s=idle_s,
            measured_s=measured_s,
        )

    async def _handle(self, entry: Entry) -> None:
        """Score an entry; keep it and try again while the judge is away."""
        away_since: float | None = None
        while True:
            try:
                with self._idle.work():
                    async with asyncio.timeout(self._config.task_timeout_s):
                        await self._assembly.handle(entry)
                self._done += 1
                return
            except JudgeAway as error:
                away_since = away_since or time.monotonic()
                if not await self._wait_for_judge(entry, error, away_since):
                    return
            except JudgeUnavailable as error:
                self._metrics.failures.inc()
                logger.error("trajectory entry %s: not scored: %s", entry.id, error)
                if await self._stream.deliveries(entry) >= self._config.max_attempts:
                    await self._assembly.give_up(entry, JUDGE_FAILED)
                return

    async def _wait_for_judge(self, entry: Entry, error: JudgeAway, away_since: float) -> bool:
        """Whether to ask again now; otherwise the entry is dropped, or left to another node."""
        self._metrics.failures.inc()
        patience_s = self._config.judge.outage_timeout_s if self._config.judge else 0.0
        waited_s = time.monotonic() - away_since
        if waited_s > patience_s:
            logger.error(
                "trajectory entry %s: not scored in %.0f s (reward.judge.outage_timeout_s): %s",
                *(entry.id, waited_s, error),
            )
            await self._assembly.give_up(entry, JUDGE_FAILED)
            return False
        logger.warning("trajectory entry %s waits for the judge: %s", entry.id, error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), self._config.lost_after_s)
        return not self._stop.is_set()

    def _failed(self, entry: Entry, error: Exception) -> None:
        if isinstance(error, OUTAGE):
            logger.warning("trajectory entry %s is left for later: %s", entry.id, error)
            return
        self._metrics.failures.inc()
        if isinstance(error, TimeoutError):
            logger.error(
                "trajectory entry %s: not scored within reward.task_timeout_s (%g s)",
                entry.id,
                self._config.task_timeout_s,
            )
        else:
            logger.exception("trajectory entry %s: the attempt to score it failed", entry.id)

    async def _give_up(self, entry: Entry, tries: int) -> None:
        await self._assembly.bury(entry, f"not scored in {self._config.max_attempts} attempts")
