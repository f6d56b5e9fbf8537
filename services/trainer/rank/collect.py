"""Collects scored groups while the ranks train; used by rank 0 only.

A thread with a connection of its own runs the intake. What it has read so far it tells to all
ranks, which prepare those groups beside the step in hand (``fetch.py``). The batch itself is chosen
when the ranks ask for it: an older group that arrives late still comes first.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from services.trainer.rank.hints import Hints
from services.trainer.rank.intake import HeldGroup, Intake
from services.trainer.rank.link import Link
from shared.config import Config
from shared.errors import WaitTimeout
from shared.wire.messages import PolicyVersion

logger = logging.getLogger(__name__)

_LOOK_S = 0.05
"""How long one look for new groups may delay the ranks that ask for their batch."""


class Collector:
    """The intake in its thread.

    Args:
        ranks: how many take part in each step.
    """

    def __init__(self, config: Config, incarnation: int, ranks: int) -> None:
        self._config = config
        self._incarnation = incarnation
        self._ranks = ranks
        self._halt = threading.Event()
        self._gathering: Future[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="collect")
        self._thread.submit(self._open).result()

    @property
    def first_sampled(self) -> float | None:
        """When the first group began to be sampled; see `Intake.first_sampled`."""
        return self._intake.first_sampled

    def gather(self, upcoming: PolicyVersion) -> None:
        """Begin to read the groups of the step that will train `upcoming`."""
        self._halt.clear()
        self._gathering = self._thread.submit(self._gather, upcoming)

    def batch(
        self, current: PolicyVersion, check: Callable[[], None] = lambda: None
    ) -> list[HeldGroup]:
        """Wait for the groups of the step that trains `current`; see `Intake.batch`."""
        self._halt.set()
        if self._gathering is not None:
            gathering, self._gathering = self._gathering, None
            gathering.result()
        return self._thread.submit(self._batch, current, check).result()

    def close(self) -> None:
        """Close the thread's connection."""
        self._halt.set()
        self._thread.submit(self._link.close).result()
        self._thread.shutdown()

    def _open(self) -> None:
        # A connection belongs to the thread that opens it.
        self._link = Link(self._config)
        client, keys = self._link.client, self._link.keys
        self._intake = Intake(client, keys, self._config, self._incarnation)
        self._hints = Hints(client, keys, self._config.trainer, self._incarnation, self._ranks)

    def _gather(self, upcoming: PolicyVersion) -> None:
        async def look() -> None:
            await self._hints.tell(upcoming, self._intake.held)
            await self._intake.read(_LOOK_S)

        try:
            while not self._halt.is_set() and not self._intake.is_full:
                self._link.do(look)
            self._link.do(lambda: self._hints.tell(upcoming, self._intake.held))
        except WaitTimeout as error:
            # Redis may be back before the ranks need their groups; if not, `batch` says so.
            logger.warning("no groups are read beside this step: %s", error)

    def _batch(self, current: PolicyVersion, check: Callable[[], None]) -> list[HeldGroup]:
        async def tell() -> None:
            await self._hints.tell(current, self._intake.held)

        return self._link.do(lambda: self._intake.batch(current, check, tell))
