"""Which groups the feeder issues next: `plan/skipping.py` decides, from the ledger's verdicts."""

import logging
import time
from functools import partial

from services.trainer.plan.groups import group_id
from services.trainer.plan.skipping import Skipping, Turn
from shared.service.connection import Patience
from shared.wire.ledger import Ledger
from shared.wire.verdicts import Verdict, Verdicts

logger = logging.getLogger(__name__)


class Choice:
    """Goes through the groups of one incarnation, from the run's first one."""

    def __init__(
        self,
        ledger: Ledger,
        verdicts: Verdicts,
        patient: Patience,
        skipping: Skipping,
        patience_s: float,
    ) -> None:
        self._ledger = ledger
        self._verdicts = verdicts
        self._patient = patient
        self._skipping = skipping
        self._patience_s = patience_s
        self._asked: tuple[str, float] = ("", 0.0)
        """The group whose verdict was asked for last, and when first."""
        self._settled: set[str] = set()
        self._known: dict[str, str] = {}
        self._recorded: dict[str, int] = {}

    async def resume(self) -> None:
        """Read what the ledger was restored with, so that the same groups are skipped again."""
        self._settled = set(await self._patient(self._ledger.settled))
        self._known = await self._patient(self._verdicts.all)

    async def next(self, room: int) -> list[Turn]:
        """The next groups to issue, `room` at most.

        Fewer when the next one depends on a verdict that is still to come: then ask again, until
        ``data.skipping.patience_s`` have passed.
        """
        chosen: list[Turn] = []
        while len(chosen) < room and await self._is_up_to_date():
            turn = self._skipping.next()
            if group_id(turn.index) not in self._settled:
                chosen.append(turn)
        if self._skipping.skipped != self._recorded:
            self._recorded = dict(self._skipping.skipped)
            await self._patient(partial(self._verdicts.skip, self._recorded))
        return chosen

    async def _is_up_to_date(self) -> bool:
        awaited = self._skipping.awaited()
        if awaited is None:
            return True
        verdict = await self._verdict(group_id(awaited))
        if verdict is None:
            return False
        self._skipping.learn(verdict)
        return True

    async def _verdict(self, group: str) -> Verdict | None:
        known = self._known.pop(group, None)
        if known is not None:
            return Verdict.parse(known)
        verdict = await self._patient(partial(self._verdicts.of, group))
        if self._asked[0] != group:
            self._asked = (group, time.monotonic())
        if verdict is None and time.monotonic() - self._asked[1] > self._patience_s:
            logger.warning(
                "group %s has no verdict yet; which questions are skipped no longer waits for it "
                "(data.skipping.patience_s %g)",
                *(group, self._patience_s),
            )
            return await self._patient(partial(self._verdicts.stop_waiting, group))
        return verdict
