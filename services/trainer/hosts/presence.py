"""How further hosts know that the trainer's own host is there: it counts on in Redis.

They compare the count with what they saw before, by a clock of their own: hosts' clocks differ.
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
"""So long without a beat is more than a busy moment."""


async def beat(state: RunState) -> None:
    """Count on until cancelled."""
    while True:
        # While Redis is away, those who need it wait for it, and say so.
        try:
            await heeding_cancel(state.beat)
        except OUTAGE as error:
            logger.warning("further hosts cannot be told that this one is there: %s", error)
        await asyncio.sleep(BEAT_EVERY_S)


class Presence:
    """The trainer's own host, as a further one sees it."""

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
        """Take note of the count.

        Raises:
            WaitTimeout: when it has not changed for ``trainer.start_timeout_s``.
        """
        now = self._clock()
        # What stood there at first may be of a trainer that is long gone.
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
        """Whether it was heard from just now."""
        return self._heard and self._clock() - self._since < _QUIET_AFTER_S
