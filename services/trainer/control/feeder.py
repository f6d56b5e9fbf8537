"""Issues groups to the rollout nodes whenever the staleness limit leaves room.

``choice.py`` says which groups are issued, ``plan/groups.py`` what each one asks. They are admitted
by capacity, so that a group waits at most ``max_staleness`` steps.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import redis.asyncio

from services.trainer.control.choice import Choice
from services.trainer.control.group_spans import GroupSpans
from services.trainer.control.pictures import Images, Pictures
from services.trainer.control.shown_images import ShownImages
from services.trainer.plan.admission import KeptShare, most_in_flight
from services.trainer.plan.groups import GroupPlan, group_id
from services.trainer.plan.skipping import Skipping, Turn
from shared.config import Config
from shared.errors import UserError, WaitTimeout
from shared.formats import SourceSize
from shared.permutation import (
    count_refusals,
)
from shared.sample import Sample
from shared.service.connection import Patience
from shared.service.tracing import NO_SPANS, Spans
from shared.wire.board import Announcement, VersionBoard
from shared.wire.counts import Counts
from shared.wire.keys import Keys
from shared.wire.ledger import DROPPED_BY_TRAINER, ImagesWanted, Ledger
from shared.wire.messages import PolicyVersion
from shared.wire.registry import Registry
from shared.wire.verdicts import Verdicts

logger = logging.getLogger(__name__)

_BLOCK_S = 1.0
_QUEUED = 1.5
"""Groups that are issued for each one in work where filters drop many."""


class Feeder:
    """Keeps as many groups in flight as the staleness limit allows.

    Args:
        shown: where the images of the issued groups are recorded.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        keys: Keys,
        config: Config,
        samples: list[Sample],
        sizes: Sequence[SourceSize] = (),
        shown: ShownImages | None = None,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._client = client
        self._keys = keys
        self._config = config
        self._samples = samples
        self._plan = GroupPlan(config, samples, sizes)
        self._ledger = Ledger(client, keys)
        self._verdicts = Verdicts(client, keys)
        self._board = VersionBoard(client, keys)
        self._registry = Registry(client, keys)
        self._patient = Patience(client, "feeder", config.redis.timeout_s)
        self._traced = GroupSpans(client, keys, spans, self._patient) if spans.on else None
        self._pictures = Pictures(config.data.max_image_pixels, shown)
        self._unread = 0
        self._nodes_seen, self._nodes_seen_at = 0, -math.inf
        self._kept = KeptShare(memory=4 * config.trainer.groups_per_step)

    async def run(self, incarnation: int, stop: asyncio.Event) -> None:
        """Issue the groups of one incarnation until `stop`, starting with the first unsettled one.

        Raises:
            WaitTimeout: when too few rollout nodes become ready (``trainer.start_nodes``).
        """
        await self._log_refusals()
        await self._patient(partial(self._nodes, stop))
        skipping, waits_s = (
            Skipping(self._config, self._plan),
            self._config.data.skipping.patience_s,
        )
        choice = Choice(self._ledger, self._verdicts, self._patient, skipping, waits_s)
        await choice.resume()
        async with contextlib.AsyncExitStack() as stack:
            if self._traced is not None:
                following = asyncio.create_task(self._traced.run())
                stack.push_async_callback(self._traced.finish, following)
            await self._feed(choice, incarnation, stop)

    async def _feed(self, choice: Choice, incarnation: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            last_event, room, current = await self._patient(self._look)
            if current is None or current.version.incarnation != incarnation:
                seen = current.entry_id if current else "0"
                await self._patient(partial(self._board.next_after, seen, _BLOCK_S))
                continue
            chosen = await choice.next(room)
            for turn in chosen:
                await self._patient(partial(self._issue, turn, current.version))
            if len(chosen) < max(room, 1):
                await self._patient(partial(self._settled_after, last_event))

    async def _look(self) -> tuple[str, int, Announcement | None]:
        """The last event, how many groups may be issued, and the current version, in this order.

        A step announces its version before it makes room, and the version is read after the room:
        so no group is issued at a version older than the step it is meant for.
        """
        return await self._last_event(), await self._room(), await self._board.current()

    async def _nodes(self, stop: asyncio.Event) -> None:
        """Wait until ``trainer.start_nodes`` rollout nodes are ready."""
        trainer = self._config.trainer
        wanted, deadline = trainer.start_nodes or 0, time.monotonic() + trainer.start_timeout_s
        while (ready := await self._ready_nodes()) < wanted and not stop.is_set():
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    "trainer",
                    f"rollout nodes to be ready ({ready} of {wanted}, trainer.start_nodes)",
                    trainer.start_timeout_s,
                    "trainer.start_timeout_s",
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _BLOCK_S)

    async def _ready_nodes(self) -> int:
        alive, _ = await self._registry.nodes()
        return sum(node.kind == "rollout" and node.state == "ready" for node in alive)

    async def _log_refusals(self) -> None:
        """Log how many samples cannot be permuted, by reason."""
        if self._config.permutation.n_s > 0:
            reasons = await asyncio.to_thread(count_refusals, self._samples)
            for reason, count in reasons.items():
                logger.info(
                    "%d of %d samples are not permuted: %s", count, len(self._samples), reason
                )

    async def _room(self) -> int:
        """How many groups may be issued now: `most_in_flight`, and no more than the run needs."""
        trainer, counts = self._config.trainer, await self._ledger.counts()
        scored = int(await self._client.xlen(self._keys.groups))
        places = (trainer.max_staleness + 1) * trainer.groups_per_step
        needed = trainer.steps * trainer.groups_per_step - counts.trained
        share = self._kept_share(counts, scored)
        at_once = await self._at_once() if share < 1.0 else 0
        most = most_in_flight(places, scored, share, at_once)
        return max(0, min(most, needed) - counts.in_flight)

    async def _at_once(self) -> int:
        """How many groups keep the nodes busy: those in work, and half as many in the queue."""
        now = time.monotonic()
        if now >= self._nodes_seen_at + self._config.rollout.heartbeat_s:
            self._nodes_seen_at, self._nodes_seen = now, await self._ready_nodes()
        tasks = self._nodes_seen * self._config.rollout.concurrent_tasks
        return math.ceil(_QUEUED * tasks / (self._config.permutation.n_s + 1))

    def _kept_share(self, counts: Counts, scored: int) -> float:
        """The share of groups that pass the filters.

        A synchronous run (``max_staleness: 0``) gets 1: what it sampled too much would be stale.
        """
        if self._config.trainer.max_staleness == 0:
            return 1.0
        late = sum(counts.dropped.get(reason, 0) for reason in DROPPED_BY_TRAINER)
        kept = counts.trained + scored + late
        self._kept.see(kept, sum(counts.dropped.values()) - late)
        return self._kept.share

    async def _last_event(self) -> str:
        entries = await self._client.xrevrange(self._keys.events, count=1)
        return str(entries[0][0].decode()) if entries else "0"

    async def _settled_after(self, event: str) -> None:
        """Wait until a group is settled after `event`, or a moment has passed."""
        await self._client.xread({self._keys.events: event}, block=int(_BLOCK_S * 1000))

    async def _issue(self, turn: Turn, issued_at: PolicyVersion) -> None:
        """Issue a group, or drop it with a dead letter when its images cannot be read.

        Raises:
            UserError: when as many groups in a row as a step has cannot be read: then it is not
                the samples, but the disk.
        """
        index, sample = turn.index, self._plan.sample(turn.index)[0]
        try:
            issued = await self._issue_sample(sample, turn, issued_at)
        except UserError as error:
            self._unread += 1
            if self._unread > self._config.trainer.groups_per_step:
                raise
            why = f"sample '{sample.id}': {error}"
            logger.error("group %s goes to the dead letters: %s", group_id(index), why)
            # Images that cannot be read have no hash.
            names = defaultdict(str, self._pictures.names)
            await self._ledger.refuse(self._plan.tasks(index, turn.progress, names, issued_at), why)
            return
        self._unread = 0
        if not issued:
            logger.warning("group %s was issued before; skipped", group_id(index))

    async def _issue_sample(self, sample: Sample, turn: Turn, issued_at: PolicyVersion) -> bool:
        """Issue a group, with the bytes of its images where Redis does not have them.

        Raises:
            UserError: when an image cannot be read.
        """
        noisy, _ = self._plan.noise(turn.index, turn.progress)
        try:
            images = await self._pictures.of(sample, fresh=bool(noisy))
            return await self._issue_with(turn, issued_at, images)
        except ImagesWanted:
            images = await self._pictures.of(sample, fresh=True)
            return await self._issue_with(turn, issued_at, images)

    async def _issue_with(self, turn: Turn, issued_at: PolicyVersion, images: Images) -> bool:
        """Issue a group with these images, distorted where its orders are noisy."""
        began = time.time()
        tasks = self._plan.tasks(turn.index, turn.progress, self._pictures.names, issued_at)
        noisy, strength = self._plan.noise(turn.index, turn.progress)
        if noisy:
            distort = partial(self._pictures.distort, images, strength)
            tasks, images = await asyncio.to_thread(distort, tasks, noisy)
        await self._pictures.keep(images)
        issued = await self._ledger.issue(tasks, images)
        if issued and self._traced is not None:
            self._traced.issued(tasks[0], began)
        return issued
