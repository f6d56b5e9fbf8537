"""Handles one trajectory batch: scores it, adds it to its group, and filters the complete group.

Every step ends in one script of the ledger, so a batch that is handled twice counts once.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from services.reward.filters import Filter, reason_to_drop
from services.reward.group_rewards import GroupRewards
from services.reward.held import HeldOrders
from services.reward.metrics import Metrics
from services.reward.penalties import Details
from services.reward.scoring import BadReward, RewardTimeout, Scorer
from shared.grading.grade import UngradableGold
from shared.service.tracing import Attribute, Spans
from shared.together import together
from shared.wire.ledger import DEAD_LETTER, Ledger
from shared.wire.messages import (
    MalformedMessage,
    PromptTask,
    Response,
    ScoredGroup,
    ScoredOrder,
    TrajectoryBatch,
    decode,
    encode,
)
from shared.wire.queues import Entry, WorkStream

logger = logging.getLogger(__name__)

UNGRADABLE_GOLD = "ungradable_gold"
"""Reason of a group whose gold answer is not of its sample's kind."""

BAD_REWARD = "bad_reward"
"""Reason of a group for which a function returned something else than finite numbers."""

REWARD_TIMEOUT = "reward_timeout"
"""Reason of a group for which a custom function did not return in time."""


class Assembly:
    """Handles entries of the stream of trajectories.

    Args:
        recorded: whether dropped groups are recorded.
    """

    def __init__(
        self,
        stream: WorkStream,
        ledger: Ledger,
        scorer: Scorer,
        group_rewards: GroupRewards,
        filters: Sequence[Filter],
        metrics: Metrics,
        spans: Spans,
        recorded: bool,
    ) -> None:
        self._stream = stream
        self._ledger = ledger
        self._scorer = scorer
        self._group_rewards = group_rewards
        self._filters = filters
        self._metrics = metrics
        self._spans = spans
        self._recorded = recorded
        self._held = HeldOrders()

    async def handle(self, entry: Entry) -> None:
        """Score one batch; when it completes its group, forward the group or drop it."""
        taken = time.time()
        try:
            batch = decode(TrajectoryBatch, entry.payload)
        except MalformedMessage as error:
            await self.bury(entry, str(error))
            return
        try:
            order = await self._score(batch)
        except UngradableGold as error:
            logger.error("sample %s: %s; its group is dropped", batch.task.sample_id, error)
            await self._drop(batch, entry, UNGRADABLE_GOLD, detail=str(error))
            return
        except (BadReward, RewardTimeout) as error:
            await self._refuse(batch, entry, error)
            return
        group = await self._collect(entry, order)
        scored = time.time()
        if group is not None:
            await self._complete(batch, entry, group)
        if trace := self._spans.of(batch.task):
            name: dict[str, Attribute] = {
                "perl.order": batch.task.order_index,
                "perl.node": self._stream.consumer,
            }
            trace.span("trajectory queue", entry.added_s, taken, **name)
            trace.span("score", taken, scored, **name)
            if group is not None:
                trace.span("assemble", scored, time.time(), **name)

    async def bury(self, entry: Entry, why: str) -> None:
        """Make the entry a dead letter, and drop its group if the entry still names it."""
        logger.error("trajectory entry %s: %s; see the dead-letter stream", entry.id, why)
        if await self._ledger.drop_dead_letter(self._stream, entry, why):
            self._metrics.dropped.labels(DEAD_LETTER).inc()

    async def give_up(self, entry: Entry, reason: str) -> None:
        """Drop the group of a batch that can be decoded but not scored."""
        await self._drop(decode(TrajectoryBatch, entry.payload), entry, reason)

    async def _score(self, batch: TrajectoryBatch) -> ScoredOrder:
        start = time.monotonic()
        task = batch.task
        rewards = await together(
            self._scorer.score(one.text, task.answer, task.kind, task, details(task, one))
            for one in batch.responses
        )
        order = ScoredOrder(batch=batch, rewards=tuple(rewards), scored_s=time.monotonic() - start)
        self._metrics.scored(order)
        return order

    async def _collect(self, entry: Entry, order: ScoredOrder) -> ScoredGroup | None:
        """The order's group when it is complete; otherwise the entry is finished.

        The order that completes it stays here when all others do: what forwards or drops the group
        also finishes its entry, so a node that takes the entry over finds the others in Redis.
        """
        task, others = order.batch.task, self._held.others(order.batch.task)
        mine = {**others, task.order_index: order}
        fetched: list[bytes] = []
        if len(mine) < task.orders:
            data = encode(order)
            missing = await self._ledger.collect(entry, order, data, list(mine))
            if missing is None:
                self._held.add(order, len(data))
                return None
            fetched = missing
        self._held.forget(task)
        return assemble([*mine.values(), *(decode(ScoredOrder, one) for one in fetched)])

    async def _complete(self, batch: TrajectoryBatch, entry: Entry, group: ScoredGroup) -> None:
        try:
            rewarded = await self._group_rewards.apply(group)
        except (BadReward, RewardTimeout) as error:
            await self._refuse(batch, entry, error, encode(group) if self._recorded else b"")
            return
        await self._settle(entry, rewarded)

    async def _refuse(
        self,
        batch: TrajectoryBatch,
        entry: Entry,
        error: BadReward | RewardTimeout,
        group: bytes = b"",
    ) -> None:
        task = batch.task
        logger.error(
            "sample %s, group %s, order %d: %s; its group is dropped",
            *(task.sample_id, task.group_id, task.order_index, error),
        )
        late = isinstance(error, RewardTimeout)
        reason = REWARD_TIMEOUT if late else BAD_REWARD
        await self._drop(batch, entry, reason, group=group, detail=str(error))

    async def _settle(self, entry: Entry, group: ScoredGroup) -> None:
        reason = reason_to_drop(group, self._filters)
        batch = group.orders[0].batch
        if reason is not None:
            recorded = encode(group) if self._recorded else b""
            await self._drop(batch, entry, reason, group.score_sums(), recorded)
        elif await self._ledger.forward(entry, group, batch.task.issued_at):
            self._metrics.forwarded.inc()

    async def _drop(
        self,
        batch: TrajectoryBatch,
        entry: Entry,
        reason: str,
        scores: Mapping[str, float] = MappingProxyType({}),
        group: bytes = b"",
        detail: str = "",
    ) -> None:
        settled = await self._ledger.drop(
            *(batch.task.group_id, batch.task.issued_at, reason, self._stream.name, entry),
            *(scores, group, detail),
        )
        if settled:
            self._metrics.dropped.labels(reason).inc()


def details(task: PromptTask, response: Response) -> Details:
    """What a batch says about one of its responses, beyond its text."""
    return Details(
        question=task.question,
        tolerance=task.tolerance,
        tokens=len(response.token_ids),
        finish_reason=response.finish_reason,
        max_tokens=task.sampling.max_tokens,
    )


def assemble(orders: Sequence[ScoredOrder]) -> ScoredGroup:
    """The group of these scored orders, the original order first."""
    ordered = sorted(orders, key=lambda order: order.batch.task.order_index)
    return ScoredGroup(group_id=ordered[0].batch.task.group_id, orders=tuple(ordered))
