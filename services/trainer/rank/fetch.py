"""The groups that this rank trains in a step: shared out by rank 0, fetched and prepared here.

Groups that the next step will probably train are prepared while this one trains, in a thread with a
connection of its own. Such a group that cannot be prepared is tried again when its step begins, and
fails there.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from PIL import Image

from services.trainer.compute import collective
from services.trainer.compute.packing import PreparedGroup
from services.trainer.compute.prepare import GroupPreparer
from services.trainer.rank.deal import deal_groups, entry_ids, hand_of
from services.trainer.rank.hints import Hints
from services.trainer.rank.intake import HeldGroup
from services.trainer.rank.link import Link
from shared.config import Config
from shared.errors import UserError
from shared.wire.image_store import ImageMissing, ImageStore
from shared.wire.messages import PolicyVersion, ScoredGroup, decode

_IMAGE_CACHE_BYTES = 64 << 20
_LOOK_S = 0.05
"""How long one look for hints may delay a step."""


class GroupFetcher:
    """Turns the stream entries that rank 0 names into prepared groups."""

    def __init__(
        self, config: Config, incarnation: int, preparer: GroupPreparer, device: torch.device
    ) -> None:
        trainer = config.trainer
        self._config = config
        self._incarnation = incarnation
        self._preparer = preparer
        self._device = device
        self._minibatch = trainer.minibatch_groups or trainer.groups_per_step
        self._most_ahead = trainer.prepare_ahead_mib << 20
        self._ready: dict[str, PreparedGroup] = {}
        """By entry id; for the step that trains `_upcoming`."""
        self._upcoming: PolicyVersion | None = None
        self._halt = threading.Event()
        self._ahead: Future[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._thread.submit(self._open).result()

    def _open(self) -> None:
        # A connection belongs to the thread that opens it.
        self._link = link = Link(self._config)
        trainer, world = self._config.trainer, collective.world()
        self._hints = Hints(link.client, link.keys, trainer, self._incarnation, world)
        self._images = ImageStore(
            link.client, link.keys, self._config.data.max_image_pixels, _IMAGE_CACHE_BYTES
        )

    def prepare_ahead(self, upcoming: PolicyVersion) -> None:
        """Begin to prepare the groups of the step that trains `upcoming`, as they become known."""
        if self._ahead is not None and self._upcoming == upcoming:
            return
        self._stop_ahead()
        self._ready.clear()
        self._upcoming = upcoming
        self._halt.clear()
        self._ahead = self._thread.submit(self._prepare_hinted, upcoming)

    def minibatches(
        self, batch: list[HeldGroup], current: PolicyVersion
    ) -> list[list[PreparedGroup]]:
        """This rank's groups of each minibatch; every rank gets as many, or none at all.

        Args:
            batch: the step's groups, on rank 0; the other ranks' is not read.
            current: the policy version that is about to be trained.

        Raises:
            TokenMismatch, GuardStop: see `GroupPreparer.prepare`.
        """
        dealt = None
        if collective.is_first():
            dealt = deal_groups(
                [(held.entry.id, held.group.response_tokens()) for held in batch],
                self._minibatch,
                collective.world(),
            )
        numbers = collective.broadcast_integers(dealt, self._device)
        self._stop_ahead()
        hand = self._hand(entry_ids(numbers))
        groups = self._thread.submit(self._prepare_all, hand, current).result()
        self._ready.clear()
        return groups

    def close(self) -> None:
        """Close the thread's connection."""
        self._stop_ahead()
        self._thread.submit(self._link.close).result()
        self._thread.shutdown()

    def _stop_ahead(self) -> None:
        if self._ahead is not None:
            self._halt.set()
            ahead, self._ahead = self._ahead, None
            ahead.result()

    def _hand(self, entries: list[str]) -> list[list[str]]:
        return hand_of(entries, self._minibatch, collective.rank(), collective.world())

    def _prepare_hinted(self, upcoming: PolicyVersion) -> None:
        try:
            while not self._halt.is_set():
                hinted = self._link.do(lambda: self._hints.heard(upcoming, _LOOK_S))
                for entry in (one for hand in self._hand(hinted) for one in hand):
                    if self._halt.is_set() or self._bytes_ahead() >= self._most_ahead:
                        return
                    self._prepare_one_ahead(entry, upcoming)
        except UserError:
            # Redis was away too long; whoever needs it next says so if it still is.
            return

    def _prepare_one_ahead(self, entry: str, upcoming: PolicyVersion) -> None:
        try:
            self._ready[entry] = self._prepare(entry, upcoming)
        except (UserError, ImageMissing, LookupError):
            # It may never be trained. If it is, its step meets the same error.
            return

    def _bytes_ahead(self) -> int:
        return sum(group.pixel_values.nbytes for group in self._ready.values())

    def _prepare_all(
        self, hand: list[list[str]], current: PolicyVersion
    ) -> list[list[PreparedGroup]]:
        ready = self._ready if self._upcoming == current else {}
        return [
            [ready.get(entry) or self._prepare(entry, current) for entry in minibatch]
            for minibatch in hand
        ]

    def _prepare(self, entry: str, current: PolicyVersion) -> PreparedGroup:
        group = self._link.do(lambda: self._fetch(entry))
        names = list(dict.fromkeys(n for o in group.orders for n in o.batch.task.trained_images()))
        pictures: list[Image.Image] = self._link.do(lambda: self._images.get(names))
        return self._preparer.prepare(group, dict(zip(names, pictures, strict=True)), current)

    async def _fetch(self, entry: str) -> ScoredGroup:
        found = await self._link.client.xrange(self._link.keys.groups, min=entry, max=entry)
        return decode(ScoredGroup, found[0][1][b"m"])
