"""How worker hosts know that host 0 of the trainer is running: it keeps adding to a count in Redis.

They compare the count with what they saw before, by their own clock: the clocks of hosts differ.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from shared.errors import WaitTimeout
from shared.service.connection import OUTAGE, heeding_cancel
from shared.wire.runstate import RunState

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 2.0

_QUIET_AFTER_S = 15.0
"""A host that is only busy misses beats for less time."""


async def beat(state: RunState) -> None:
    """Add to the count every `BEAT_EVERY_S` until cancelled."""
    while True:
        # While Redis is away, those who need it wait for it, and log that.
        try:
            await heeding_cancel(state.beat)
        except OUTAGE as error:
            logger.warning("worker hosts cannot see that host 0 is running: %s", error)
        await asyncio.sleep(BEAT_EVERY_S)


class Presence:
    """Host 0 of the trainer, as a worker host sees it."""

    def __init__(
        self, who: str, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._who = who
        self._timeout_s = timeout_s
        self._clock = clock
        self._since = clock()
        self._beats: int | None = None
        self._heard = False

    def see(self, beats: int) -> None:
        """Note the count.

        Raises:
            WaitTimeout: when it has not changed for ``trainer.start_timeout_s``.
        """
        now = self._clock()
        # The first count may be left from a trainer that ended long ago.
        if self._beats is not None and beats != self._beats:
            self._since, self._heard = now, True
        self._beats = beats
        if now - self._since > self._timeout_s:
            raise WaitTimeout(
                self._who,
                "the trainer on host 0 (perl-rl trainer serve, same run and Redis) to answer",
                self._timeout_s,
                "trainer.start_timeout_s",
            )

    @property
    def answers(self) -> bool:
        """Whether the count has changed within the last `_QUIET_AFTER_S`."""
        return self._heard and self._clock() - self._since < _QUIET_AFTER_S
