"""Collects a step's groups: waits for a full batch within the staleness limit."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis.asyncio

from services.trainer.rank.guards import admitted
from services.trainer.rank.tally import StepTally
from shared.config import Config
from shared.errors import UserError, WaitTimeout
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import MalformedMessage, PolicyVersion, ScoredGroup, decode
from shared.wire.queues import Entry, WorkStream
from shared.wire.runstate import RunState

logger = logging.getLogger(__name__)

NONFINITE_GRADIENT = "nonfinite_gradient"
"""Reason of a group whose update changed nothing, because its gradient norm was not finite."""

_BLOCK_S = 1.0
# After this long, groups are taken over that an earlier, killed trainer had read but not settled.
_ABANDONED_S = 10.0


@dataclass(frozen=True)
class HeldGroup:
    """A group the trainer has read and not yet trained or dropped."""

    entry: Entry
    group: ScoredGroup

    @property
    def issued_at(self) -> PolicyVersion:
        """The policy version at which the feeder issued the group."""
        return self.group.orders[0].batch.task.issued_at


class Intake:
    """Collects groups for one step at a time; used by rank 0 only."""

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, config: Config, incarnation: int
    ) -> None:
        self._stream = WorkStream(client, keys.groups, consumer=f"trainer-{incarnation}")
        self._incarnation = incarnation
        self._state = RunState(client, keys)
        self._ledger = Ledger(client, keys)
        self.tally = StepTally(client, keys, config.trainer)
        self._keys = keys
        self._config = config.trainer
        self._held: list[HeldGroup] = []
        self._handed_out: list[HeldGroup] = []
        """The last batch: still in flight until its version is announced."""
        self.first_sampled: float | None = None
        """When the first group began to be sampled, on the clock of ``time.monotonic``: before,
        the nodes were starting."""

    async def batch(
        self, current: PolicyVersion, check: Callable[[], None] = lambda: None
    ) -> list[HeldGroup]:
        """Wait for ``groups_per_step`` groups within the staleness limit, the oldest first.

        Groups that have become too stale are dropped with the reason ``stale``. Returns no groups
        when the operator asks for a stop meanwhile.

        Args:
            check: called again and again; what it raises ends the wait.

        Raises:
            UserError: when ``trainer.max_dropped_per_step`` groups were dropped on the way.
            WaitTimeout: after ``trainer.groups_timeout_s`` without a full batch.
            UserError: when another trainer has taken the run over.
        """
        deadline = time.monotonic() + self._config.groups_timeout_s
        wanted = self._config.groups_per_step
        while True:
            check()
            await self._check_not_superseded()
            await self._drop_stale(current)
            if len(self._held) >= wanted:
                self._held.sort(key=lambda held: held.group.group_id)
                self._handed_out, self._held = self._held[:wanted], self._held[wanted:]
                return self._handed_out
            if "stop" in await self._state.wishes():
                return []
            await self.tally.check(current.step + 1)
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    "trainer",
                    f"scored groups ({len(self._held)} of {wanted} for step {current.step})",
                    self._config.groups_timeout_s,
                    "trainer.groups_timeout_s",
                )
            missing = wanted - len(self._held)
            await self._hold(
                await self._stream.read(missing, _BLOCK_S)
                or await self._stream.claim_abandoned(_ABANDONED_S, wanted)
            )

    async def _hold(self, entries: list[Entry]) -> None:
        known = {held.entry.id for held in (*self._held, *self._handed_out)}
        for entry in entries:
            if entry.id in known:
                continue
            try:
                held = HeldGroup(entry, admitted(decode(ScoredGroup, entry.payload)))
            except MalformedMessage as error:
                logger.error("group entry %s goes to the dead letters: %s", entry.id, error)
                await self._ledger.drop_dead_letter(self._stream, entry, str(error))
                continue
            await self._hold_once(held)

    async def _hold_once(self, held: HeldGroup) -> None:
        """Hold the group unless it is settled, held or trained: nothing is trained twice."""
        group_id = held.group.group_id
        seen = (*self._held, *self._handed_out)
        twice = any(other.group.group_id == group_id for other in seen)
        if twice or not await self._ledger.is_in_flight(group_id, held.issued_at):
            logger.warning("group %s came twice or too late; discarded", group_id)
            await self._stream.finish(held.entry)
            return
        self._held.append(held)
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
        for held in self._held:
            if current.step - held.group.oldest_version().step <= self._config.max_staleness:
                fresh.append(held)
            else:
                await self._ledger.drop(
                    held.group.group_id, held.issued_at, "stale", self._keys.groups, held.entry
                )
        self._held = fresh

    async def refused(self, batch: list[HeldGroup]) -> None:
        """Drop groups whose update changed nothing, because its gradient norm was not finite."""
        await drop_refused(self._ledger, self._keys, batch)


async def drop_refused(ledger: Ledger, keys: Keys, batch: Sequence[HeldGroup]) -> None:
    """Drop groups whose update changed nothing, because its gradient norm was not finite."""
    for held in batch:
        await ledger.drop(
            *(held.group.group_id, held.issued_at, NONFINITE_GRADIENT),
            *(keys.groups, held.entry),
        )
