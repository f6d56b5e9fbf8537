"""The background work of a reward node: takes batches, many at a time, and says that it lives.

An entry stays ours as long as we renew it. One whose attempt failed is let go of: it is claimed
again when nobody has renewed it for a while, and is a dead letter after ``reward.max_attempts``.
While a judge is away, what waits for it is kept.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

import redis.asyncio

from services.reward.assembly import Assembly
from services.reward.filters import build_filters
from services.reward.group_rewards import GroupRewards
from services.reward.judge import JudgeAway, JudgeUnavailable
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.config import Config
from shared.errors import UserError
from shared.service.connection import OUTAGE, heeding_cancel, wait_until_back
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.queues import Entry, WorkStream
from shared.wire.registry import NodeInfo, NodeState, Registry

logger = logging.getLogger(__name__)

JUDGE_FAILED = "judge_failed"
"""Reason of a group with an order on which the judge gave no verdict."""

# How long one read waits for work: bounds how late a node notices that it is to stop.
_BLOCK_S = 0.5


class Consumer:
    """Feeds the assembly of one node from the stream of trajectories."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        config: Config,
        scorer: Scorer,
        metrics: Metrics,
        name: str,
        url: str,
    ) -> None:
        keys = Keys(config.run)
        self._client = client
        self._keys = keys
        self._config = config.reward
        self._redis_timeout_s = config.redis.timeout_s
        self._metrics = metrics
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
        )
        self._registry = Registry(client, keys)
        self._name, self._url = name, url
        self._working: dict[str, asyncio.Task[None]] = {}
        self._done = 0
        self.state: NodeState = "starting"

    async def run(self, stop: asyncio.Event) -> None:
        """Take work until `stop` is set, then finish what is in hand.

        Raises:
            UserError: when no grader process can be started, or Redis stays away.
        """
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stop = stop
        await self._stream.create()
        self.state = "ready"
        taking = asyncio.create_task(self._repeat(self._take))
        beating = asyncio.create_task(self._repeat(self._beat))
        stopping = asyncio.create_task(stop.wait())
        finishing: asyncio.Task[None] | None = None
        try:
            await _until_one_ends(taking, beating, stopping, self._failed)
            self.state = "draining"
            taking.cancel()
            finishing = asyncio.create_task(self._finish())
            await _until_one_ends(beating, finishing, self._failed)
        finally:
            for task in (taking, beating, stopping, finishing, *self._working.values()):
                if task is not None:
                    task.cancel()
            with contextlib.suppress(*OUTAGE):
                await self._registry.leave(self._name)

    async def refresh_metrics(self) -> None:
        """Set the gauges to what is true now."""
        self._metrics.in_work.set(len(self._working))
        for queue in ("prompts", "trajectories", "groups", "dead_letters"):
            length = await self._client.xlen(getattr(self._keys, queue))
            self._metrics.queue.labels(queue).set(length)

    async def _repeat(self, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await heeding_cancel(action)
            except OUTAGE:
                await wait_until_back(self._client, "reward", self._redis_timeout_s)

    async def _take(self) -> None:
        room = self._room()
        if room == 0:
            await asyncio.wait(self._working.values(), return_when=asyncio.FIRST_COMPLETED)
            return
        abandoned = await self._stream.take_over(self._config.lost_after_s, room)
        for entry in abandoned:
            await self._take_over(entry)
        if not abandoned:
            for entry in await self._stream.read(room, _BLOCK_S):
                self._start(entry)

    async def _beat(self) -> None:
        await self._registry.heartbeat(self._info(), self._config.lost_after_s)
        await self._stream.renew(list(self._working))
        await asyncio.sleep(self._config.heartbeat_s)

    async def _take_over(self, entry: Entry) -> None:
        attempts = self._config.max_attempts
        if await self._stream.deliveries(entry) > attempts:
            await self._assembly.bury(entry, f"not scored in {attempts} attempts")
        elif entry.id not in self._working:
            self._start(entry)

    def _start(self, entry: Entry) -> None:
        self._working[entry.id] = asyncio.create_task(self._attempt(entry))

    async def _attempt(self, entry: Entry) -> None:
        """One attempt at an entry; a failure leaves it pending, for whoever claims it."""
        try:
            await self._handle(entry)
        except UserError as error:
            if not self._failed.done():
                self._failed.set_exception(error)
        except OUTAGE as error:
            logger.warning("trajectory entry %s is left for later: %s", entry.id, error)
        except TimeoutError:
            self._metrics.failures.inc()
            logger.error(
                "trajectory entry %s: not scored within reward.task_timeout_s (%g s)",
                entry.id,
                self._config.task_timeout_s,
            )
        except Exception:
            # Whatever a reward function of the user's own raises must not end the node.
            self._metrics.failures.inc()
            logger.exception("trajectory entry %s: the attempt to score it failed", entry.id)
        finally:
            del self._working[entry.id]

    async def _handle(self, entry: Entry) -> None:
        """Score an entry; while the judge is away, keep it and try again."""
        away_since: float | None = None
        while True:
            try:
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

    async def _finish(self) -> None:
        while self._working:
            await asyncio.wait(self._working.values(), return_when=asyncio.FIRST_COMPLETED)

    def _room(self) -> int:
        return max(0, self._config.concurrent_tasks - len(self._working))

    def _info(self) -> NodeInfo:
        return NodeInfo(
            name=self._name,
            kind="reward",
            url=self._url,
            state=self.state,
            working_on=len(self._working),
            done=self._done,
        )


async def _until_one_ends(*futures: "asyncio.Future[None] | asyncio.Task[bool]") -> None:
    """Wait for the first to end, and raise what it raised."""
    done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    for future in done:
        future.result()
