"""The groups that this rank trains in a step: shared out by rank 0, fetched and prepared here."""

import torch
from PIL import Image

from services.trainer.compute import collective
from services.trainer.compute.packing import PreparedGroup
from services.trainer.compute.prepare import GroupPreparer
from services.trainer.rank.deal import deal_groups
from services.trainer.rank.intake import HeldGroup
from services.trainer.rank.link import Link
from shared.config import Config
from shared.wire.image_store import ImageStore
from shared.wire.messages import PolicyVersion, ScoredGroup, decode

_IMAGE_CACHE_BYTES = 64 << 20


class GroupFetcher:
    """Turns the stream entries that rank 0 names into prepared groups."""

    def __init__(
        self, link: Link, config: Config, preparer: GroupPreparer, device: torch.device
    ) -> None:
        trainer = config.trainer
        self._link = link
        self._preparer = preparer
        self._device = device
        self._minibatch = trainer.minibatch_groups or trainer.groups_per_step
        self._images = ImageStore(
            link.client, link.keys, config.data.max_image_pixels, _IMAGE_CACHE_BYTES
        )

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
        groups = self._link.do(lambda: self._fetch(numbers))
        return [[self._prepare(group, current) for group in several] for several in groups]

    async def _fetch(self, numbers: list[int]) -> list[list[ScoredGroup]]:
        entries = [f"{ms}-{seq}" for ms, seq in zip(numbers[::2], numbers[1::2], strict=True)]
        groups: list[list[ScoredGroup]] = []
        for start in range(0, len(entries), self._minibatch):
            minibatch = entries[start : start + self._minibatch]
            mine = minibatch[collective.rank() :: collective.world()]
            groups.append([await self._fetch_group(entry_id) for entry_id in mine])
        return groups

    async def _fetch_group(self, entry_id: str) -> ScoredGroup:
        stream = self._link.keys.groups
        found = await self._link.client.xrange(stream, min=entry_id, max=entry_id)
        return decode(ScoredGroup, found[0][1][b"m"])

    def _prepare(self, group: ScoredGroup, current: PolicyVersion) -> PreparedGroup:
        names = list(dict.fromkeys(n for o in group.orders for n in o.batch.task.trained_images()))
        pictures: list[Image.Image] = self._link.do(lambda: self._images.get(names))
        return self._preparer.prepare(group, dict(zip(names, pictures, strict=True)), current)
