"""Has prompt tasks answered by this node's engine and hands the trajectories on.

A task that this node cannot finish is left to another node. A task that no node can answer goes to
the dead letters, and its group is dropped.
"""

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import redis.asyncio

from services.rollout.failures import EngineDead, SamplingFailed, Unanswerable
from services.rollout.node import Node
from shared.config import Config
from shared.service.connection import OUTAGE, Patience
from shared.service.tracing import NO_SPANS, Attribute, Spans
from shared.service.worker import StreamWorker
from shared.wire.image_store import ImageMissing
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import MalformedMessage, PromptTask, decode, encode
from shared.wire.queues import Entry, WorkStream

if TYPE_CHECKING:
    from services.rollout.engine.sampler import Sampler

logger = logging.getLogger(__name__)


class Consumer:
    """One node's work on the `prompts` stream."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        config: Config,
        node: Node,
        sampler: "Sampler",
        patient: Patience,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._keys = Keys(config.run)
        self._stream = WorkStream(client, self._keys.prompts, node.name)
        self._ledger = Ledger(client, self._keys)
        self._patient = patient
        self._settings = config.rollout
        self._node = node
        self._sampler = sampler
        self._spans = spans
        self._worker = StreamWorker(
            self._stream,
            patient,
            config.rollout,
            handle=self._answer,
            give_up=self._give_up,
            failed=self._failed,
            fatal=EngineDead,
            in_work=node.in_work,
            until_ready=lambda: node.until(lambda node: node.ready),
            drain_timeout_s=config.rollout.drain_timeout_s,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what is in hand, within ``rollout.drain_timeout_s``."""
        await self._worker.run(stop)

    async def _answer(self, entry: Entry) -> None:
        taken = began = time.time()
        try:
            task = decode(PromptTask, entry.payload)
            async with asyncio.timeout(self._settings.task_timeout_s):
                await self._weights_of(task)
                began = time.time()
                with self._node.idle.work():
                    batch = await self._sampler.sample(task, entry.age_rank)
        except (MalformedMessage, Unanswerable) as error:
            await self._bury(entry, str(error))
            return
        except ImageMissing as error:
            # An image is deleted with the last group that shows it: nobody waits for this group.
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
            self._trace(entry, task, taken, began)

    def _trace(self, entry: Entry, task: PromptTask, taken: float, began: float) -> None:
        if trace := self._spans.of(task):
            order: dict[str, Attribute] = {
                "perl.order": task.order_index,
                "perl.node": self._node.name,
            }
            trace.span("prompt queue", entry.added_s, taken, **order)
            trace.span("sample", began, time.time(), **order)

    async def _weights_of(self, task: PromptTask) -> None:
        """Wait for weights at least as new as the task's.

        Raises:
            SamplingFailed: when the node cannot get them; other nodes have them.
        """
        await self._node.until(
            lambda node: node.has(task.issued_at) or node.state in ("outdated", "draining")
        )
        if not self._node.has(task.issued_at):
            raise SamplingFailed(f"this node has no weights as new as {task.issued_at}")

    def _failed(self, entry: Entry, error: Exception) -> None:
        self._node.handed_back += 1
        known = isinstance(error, (SamplingFailed, TimeoutError, *OUTAGE))
        late = f"not done in {self._settings.task_timeout_s:.0f} s (rollout.task_timeout_s)"
        why = late if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        logger.warning("prompt %s is left to another try: %s", entry.id, why, exc_info=not known)

    async def _give_up(self, entry: Entry, tries: int) -> None:
        limit = self._settings.max_attempts
        await self._bury(entry, f"{tries} tries failed (rollout.max_attempts {limit})")

    async def _bury(self, entry: Entry, why: str) -> None:
        self._node.buried += 1
        logger.error("prompt %s goes to the dead letters: %s", entry.id, why)
        await self._ledger.drop_dead_letter(self._stream, entry, why)
