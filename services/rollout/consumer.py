"""Takes prompt tasks from the stream, has them answered, and hands the trajectories on.

A task that this node cannot finish is simply not renewed: another node takes it over. One that
nobody can answer goes to the dead letters and its group is dropped.
"""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import redis.asyncio

from services.rollout.failures import EngineDead, SamplingFailed, Unanswerable
from services.rollout.node import Node
from shared.config import Config
from shared.service.connection import OUTAGE, Patience
from shared.wire.image_store import ImageMissing
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import MalformedMessage, PromptTask, decode, encode
from shared.wire.queues import Entry, WorkStream

if TYPE_CHECKING:
    from services.rollout.engine.sampler import Sampler

logger = logging.getLogger(__name__)

_RENEWALS_PER_LOSS = 3
"""A claim is renewed this often within the time after which it counts as abandoned."""


class Consumer:
    """One node's work on the `prompts` stream."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        config: Config,
        node: Node,
        sampler: "Sampler",
        patient: Patience,
    ) -> None:
        self._keys = Keys(config.run)
        self._stream = WorkStream(client, self._keys.prompts, node.name)
        self._ledger = Ledger(client, self._keys)
        self._patient = patient
        self._settings = config.rollout
        self._node = node
        self._sampler = sampler
        self._working: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what is in hand, within ``rollout.drain_timeout_s``."""
        await self._patient(self._stream.create)
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew())
            while not stop.is_set():
                await self._take(group)
            await self._drain()
            renewing.cancel()

    async def _take(self, group: asyncio.TaskGroup) -> None:
        """Read as many tasks as there is room for; waits `heartbeat_s` at most."""
        free = self._settings.concurrent_tasks - len(self._working)
        patience = self._settings.heartbeat_s
        if free <= 0:
            await asyncio.wait(self._working, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        elif not self._node.ready:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._node.until(lambda node: node.ready)
        else:
            await self._begin_some(group, free)

    async def _begin_some(self, group: asyncio.TaskGroup, free: int) -> None:
        """Tasks that another node has abandoned; where there are none, new ones."""
        lost_after_s, patience = self._settings.lost_after_s, self._settings.heartbeat_s
        claimed = await self._patient(lambda: self._stream.take_over(lost_after_s, free))
        for entry in claimed:
            if entry.id not in self._node.in_work:
                self._begin(group, entry, claimed=True)
        if not claimed:
            for entry in await self._patient(lambda: self._stream.read(free, patience)):
                self._begin(group, entry)

    async def _renew(self) -> None:
        """Say of the tasks in work, again and again, that they are not abandoned."""
        while True:
            await self._patient(lambda: self._stream.renew(sorted(self._node.in_work)))
            await asyncio.sleep(self._settings.lost_after_s / _RENEWALS_PER_LOSS)

    def _begin(self, group: asyncio.TaskGroup, entry: Entry, claimed: bool = False) -> None:
        self._node.in_work.add(entry.id)
        task = group.create_task(self._work(entry, claimed))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, entry: Entry, claimed: bool) -> None:
        try:
            await self._answer(entry, claimed)
        except EngineDead:
            raise
        except Exception as error:
            # Whatever it is: a task that makes its node fail must not end every node in turn. After
            # a few tries it is buried.
            self._node.handed_back += 1
            known = isinstance(error, (SamplingFailed, TimeoutError, *OUTAGE))
            late = f"not done in {self._settings.task_timeout_s:.0f} s (rollout.task_timeout_s)"
            why = late if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            logger.warning(
                "prompt %s is left to another try: %s", entry.id, why, exc_info=not known
            )
        finally:
            self._node.in_work.discard(entry.id)

    async def _answer(self, entry: Entry, claimed: bool) -> None:
        try:
            task = decode(PromptTask, entry.payload)
            if claimed:
                await self._refuse_after_too_many_tries(entry)
            async with asyncio.timeout(self._settings.task_timeout_s):
                await self._weights_of(task)
                self._node.sampling += 1
                try:
                    batch = await self._sampler.sample(task)
                finally:
                    self._node.sampling -= 1
        except (MalformedMessage, Unanswerable) as error:
            await self._bury(entry, str(error))
            return
        except ImageMissing as error:
            # Images go with the last group that shows them, so nobody waits for this one any more.
            logger.info("prompt %s is given up: %s", entry.id, error)
            await self._ledger.drop(
                task.group_id, task.issued_at, "image_missing", self._keys.prompts, entry
            )
            return
        result = encode(batch)
        if await self._patient(
            lambda: self._stream.hand_over(entry, self._keys.trajectories, result)
        ):
            self._node.done += 1
            self._node.tokens += sum(len(one.token_ids) for one in batch.responses)

    async def _weights_of(self, task: PromptTask) -> None:
        """Wait for weights at least as new as the task wants.

        Raises:
            SamplingFailed: when the node is cut off from them; others have them.
        """
        await self._node.until(
            lambda node: node.has(task.issued_at) or node.state in ("outdated", "draining")
        )
        if not self._node.has(task.issued_at):
            raise SamplingFailed(f"this node has no weights as new as {task.issued_at}")

    async def _refuse_after_too_many_tries(self, entry: Entry) -> None:
        tries = await self._stream.deliveries(entry)
        if tries > self._settings.max_attempts:
            raise Unanswerable(
                f"{tries - 1} tries failed (rollout.max_attempts {self._settings.max_attempts})"
            )

    async def _bury(self, entry: Entry, why: str) -> None:
        self._node.buried += 1
        logger.error("prompt %s goes to the dead letters: %s", entry.id, why)
        await self._ledger.drop_dead_letter(self._stream, entry, why)

    async def _drain(self) -> None:
        """Finish the tasks in hand; what is not done in time is left to other nodes."""
        if self._working:
            await asyncio.wait(self._working, timeout=self._settings.drain_timeout_s)
        for task in self._working:
            task.cancel()
