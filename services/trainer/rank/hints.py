"""Which groups the next step will probably train: rank 0 tells the ranks that prepare them.

Only a hint: which groups are trained is decided when the step begins. A group that was not
announced, or is dealt to another rank in the end, is prepared then.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis.asyncio

from services.trainer.rank.deal import deal_groups, entry_ids
from shared.config import TrainerConfig
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion

if TYPE_CHECKING:
    from services.trainer.rank.intake import HeldGroup

_KEPT = 100
"""Hints that are kept; a rank reads them at once, or does not need them any more."""


class Hints:
    """Tells and hears the hints of one incarnation."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        keys: Keys,
        config: TrainerConfig,
        incarnation: int,
        ranks: int,
    ) -> None:
        self._client = client
        self._key = keys.hints
        self._wanted = config.groups_per_step
        self._minibatch = config.minibatch_groups or config.groups_per_step
        self._incarnation = incarnation
        self._ranks = ranks
        self._told: tuple[int, set[str]] = (-1, set())
        self._heard = "0"

    async def tell(self, upcoming: PolicyVersion, held: Sequence["HeldGroup"]) -> None:
        """Tell which of the held groups, the oldest first, the step that trains `upcoming` takes.

        A single rank learns of each group as it comes; several learn of them once the step is full,
        because it depends on all of them which rank gets which.
        """
        step, told = self._told if self._told[0] == upcoming.step else (upcoming.step, set())
        self._told = (step, told)
        chosen = held[: self._wanted]
        if self._ranks > 1 and (told or len(chosen) < self._wanted):
            return
        numbers = deal_groups(
            [(one.entry.id, one.group.response_tokens()) for one in chosen],
            self._minibatch,
            self._ranks,
        )
        new = [entry for entry in entry_ids(numbers) if entry not in told]
        if new:
            told.update(new)
            fields = {"version": str(upcoming), "entries": " ".join(new)}
            await self._client.xadd(self._key, fields, maxlen=_KEPT)

    async def heard(self, upcoming: PolicyVersion, block_s: float) -> list[str]:
        """Entry ids, as dealt, of groups that the step which trains `upcoming` will take.

        Waits for them for `block_s` at most.
        """
        answer = await self._client.xread({self._key: self._heard}, block=int(block_s * 1000))
        entries: list[str] = []
        for _, found in answer or []:
            for hint_id, fields in found:
                self._heard = hint_id.decode()
                if fields[b"version"].decode() == str(upcoming):
                    entries += fields[b"entries"].decode().split()
        return entries
