"""Collects a step's groups: waits for a full batch within the staleness limit."""

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import redis.asyncio

from services.trainer.rank.guards import admitted
from services.trainer.rank.tally import DropLimit
from shared.config import Config
from shared.errors import UserError, WaitTimeout
from shared.wire.keys import Keys
from shared.wire.ledger import NONFINITE_GRADIENT, STALE, Ledger
from shared.wire.messages import MalformedMessage, PolicyVersion, ScoredGroup, decode
from shared.wire.queues import Entry, WorkStream
from shared.wire.runstate import RunState

logger = logging.getLogger(__name__)

_BLOCK_S = 1.0
# After this long, groups are taken over that an earlier, killed trainer had read but not settled.
_ABANDONED_S = 10.0
_UNSETTLED_BATCHES = 2
"""Batches that are not settled yet: one is trained, and the version of the one before announced."""


@dataclass(frozen=True)
class HeldGroup:
    """A group the trainer has read and not yet trained or dropped."""

    entry: Entry
    group: ScoredGroup

    @property
    def issued_at(self) -> PolicyVersion:
        """The policy version at which the feeder issued the group."""
        return self.group.orders[0].batch.task.issued_at

    @cached_property
    def oldest_step(self) -> int:
        """The step of the oldest policy that sampled a token of the group."""
        return self.group.oldest_version().step


async def nothing() -> None:
    """For who need not be told."""


class Intake:
    """Collects groups for one step at a time; used by rank 0 only."""

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, config: Config, incarnation: int
    ) -> None:
        self._stream = WorkStream(client, keys.groups, consumer=f"trainer-{incarnation}")
        self._incarnation = incarnation
        self._state = RunState(client, keys)
        self._ledger = Ledger(client, keys)
        self.limit = DropLimit(client, keys, config.trainer)
        self._keys = keys
        self._config = config.trainer
        self.held: list[HeldGroup] = []
        """Groups that are read and not yet handed out, the oldest first."""
        self._handed_out: deque[list[HeldGroup]] = deque(maxlen=_UNSETTLED_BATCHES)
        self.first_sampled: float | None = None
        """When the first group began to be sampled, on the clock of ``time.monotonic``: before,
        the nodes were starting."""
        self._room = (config.trainer.max_staleness + 1) * config.trainer.groups_per_step

    @property
    def is_full(self) -> bool:
        """Whether there are enough groups for a step."""
        return len(self.held) >= self._config.groups_per_step

    async def batch(
        self,
        current: PolicyVersion,
        check: Callable[[], None] = lambda: None,
        tell: Callable[[], Awaitable[None]] = nothing,
    ) -> list[HeldGroup]:
        """Wait for ``groups_per_step`` groups within the staleness limit, the oldest first.

        Groups that have become too stale are dropped with the reason ``stale``. Returns no groups
        when the operator asks for a stop meanwhile.

        Args:
            check: called again and again; what it raises ends the wait.
            tell: called whenever more groups may be held.

        Raises:
            UserError: when ``trainer.max_dropped_per_step`` groups were dropped on the way.
            WaitTimeout: after ``trainer.groups_timeout_s`` without a full batch.
            UserError: when another trainer has taken the run over.
        """
        deadline = time.monotonic() + self._config.groups_timeout_s
        wanted = self._config.groups_per_step
        await self.limit.begin_once()
        while True:
            check()
            await self._check_not_superseded()
            # All that is there: the oldest may have been scored last.
            await self.read(block_s=0.0)
            await self._drop_stale(current)
            await tell()
            if self.is_full:
                await self.limit.begin()
                batch, self.held = self.held[:wanted], self.held[wanted:]
                self._handed_out.append(batch)
                return batch
            if "stop" in await self._state.wishes():
                return []
            await self.limit.check(current.step + 1)
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    "trainer",
                    f"scored groups ({len(self.held)} of {wanted} for step {current.step})",
                    self._config.groups_timeout_s,
                    "trainer.groups_timeout_s",
                )
            await self.read(_BLOCK_S)

    async def read(self, block_s: float) -> None:
        """Hold the groups that are there; waits for one for `block_s` at most."""
        entries = await self._stream.read(max(1, self._room - len(self.held)), block_s)
        if not entries:
            mine = {held.entry.id for held in self._known()}
            entries = await self._stream.take_over(_ABANDONED_S, self._room, mine)
        await self._hold(entries)

    def _known(self) -> list[HeldGroup]:
        """The groups that are held, trained or being published."""
        return [*self.held, *chain.from_iterable(self._handed_out)]

    async def _hold(self, entries: list[Entry]) -> None:
        known = {held.entry.id for held in self._known()}
        new = [await self._decoded(entry) for entry in entries if entry.id not in known]
        await self._hold_once([held for held in new if held is not None])
        self.held.sort(key=lambda held: held.group.group_id)

    async def _decoded(self, entry: Entry) -> HeldGroup | None:
        """The entry's group; None when it has become a dead letter."""
        try:
            return HeldGroup(entry, admitted(decode(ScoredGroup, entry.payload)))
        except MalformedMessage as error:
            logger.error("group entry %s goes to the dead letters: %s", entry.id, error)
            await self._ledger.drop_dead_letter(self._stream, entry, str(error))
            return None

    async def _hold_once(self, new: list[HeldGroup]) -> None:
        """Hold those groups that are not settled, held or trained: nothing is trained twice."""
        groups = {held.group.group_id for held in self._known()}
        states = await self._ledger.are_in_flight(
            [(held.group.group_id, held.issued_at) for held in new]
        )
        for held, in_flight in zip(new, states, strict=True):
            group_id = held.group.group_id
            if group_id in groups or not in_flight:
                logger.warning("group %s came twice or too late; discarded", group_id)
                await self._stream.finish(held.entry)
                continue
            groups.add(group_id)
            self.held.append(held)
            if self.first_sampled is None:
                lasted_s = max(one.batch.sampled_s + one.scored_s for one in held.group.orders)
                self.first_sampled = time.monotonic() - lasted_s

    async def _check_not_superseded(self) -> None:
        newest = (await self._state.get()).incarnation
        if newest != self._incarnation:
            raise UserError(
                f"trainer: incarnation {newest} has taken over from {self._incarnation}; "
                "run only one trainer per run"
            )

    async def _drop_stale(self, current: PolicyVersion) -> None:
        fresh: list[HeldGroup] = []
        for held in self.held:
            if current.step - held.oldest_step <= self._config.max_staleness:
                fresh.append(held)
            else:
                await self._ledger.drop(
                    held.group.group_id, held.issued_at, STALE, self._keys.groups, held.entry
                )
        self.held = fresh


async def drop_refused(ledger: Ledger, keys: Keys, batch: Sequence[HeldGroup]) -> None:
    """Drop groups whose update changed nothing, because its gradient norm was not finite."""
    for held in batch:
        await ledger.drop(
            *(held.group.group_id, held.issued_at, NONFINITE_GRADIENT),
            *(keys.groups, held.entry),
        )
