"""Ends a run when it has sampled as many responses as it may (``trainer.max_responses``)."""

import torch

from services.trainer.compute import collective
from services.trainer.rank.link import Link
from shared.config import Config
from shared.wire.ledger import Ledger


class Budget:
    """Counts the responses of all groups that were trained or dropped; every rank has one."""

    def __init__(self, config: Config, link: Link, device: torch.device) -> None:
        self._most = config.trainer.max_responses
        self._per_group = config.group_size()
        self._per_step = config.trainer.groups_per_step
        self._link, self._device = link, device
        self._ledger = Ledger(link.client, link.keys)

    def spent(self, step: int) -> bool:
        """Whether the budget is spent after `step`, the same on every rank.

        The trained groups are counted by `step`: the ledger hears of the last ones a little later.
        """
        if self._most is None:
            return False
        answer = None
        if collective.is_first():
            dropped = sum(self._link.do(self._ledger.counts).dropped.values())
            groups = step * self._per_step + dropped
            answer = [int(groups * self._per_group >= self._most)]
        return bool(collective.broadcast_integers(answer, self._device)[0])
