"""The ranks of a worker host: they follow the trainer from one incarnation to the next."""

import asyncio
import logging
from functools import partial

import redis.asyncio

from services.trainer.control.ranks import HostRanks, RanksFailed, run_ranks
from services.trainer.hosts.presence import Presence
from shared.config import Config
from shared.service.connection import Patience
from shared.wire.keys import Keys
from shared.wire.runstate import RunState, TrainerState

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5


class Follower:
    """A worker host of one run; the routes read its state."""

    def __init__(self, client: redis.asyncio.Redis, config: Config, ranks: HostRanks) -> None:
        who = f"trainer join --host {ranks.host}"
        self._ranks = ranks
        self._stays = config.trainer.serve_after_end
        self._state = RunState(client, Keys(config.run))
        self._patient = Patience(client, who, config.redis.timeout_s)
        self._presence = Presence(who, config.trainer.start_timeout_s)
        self.incarnation = 0
        """Of this host's ranks, now or last."""
        self.running = False
        self.failures = 0
        """How often the ranks failed."""

    def answers(self) -> bool:
        """Whether the trainer's host 0 has sent a beat recently."""
        return self._presence.answers

    async def run(self, stop: asyncio.Event) -> None:
        """Run the ranks of each incarnation until the run is done, or until `stop`.

        With ``trainer.serve_after_end`` it stays after the last step, as the trainer does.

        Raises:
            UserError: when the ranks cannot continue, or the trainer's host does not answer.
        """
        logger.info("host %d waits for the trainer", self._ranks.host)
        ended = False
        while not stop.is_set():
            now = await self._look()
            if now.phase == "done":
                if not self._stays:
                    return
                if not ended:
                    logger.info("the run has ended; staying until told to stop")
            elif self._waits_for_us(now):
                await self._one_incarnation(now.incarnation, stop)
            ended = now.phase == "done"
            await _pause(stop)

    def _waits_for_us(self, now: TrainerState) -> bool:
        """Whether there is an incarnation to join, and not only what an old one left in Redis."""
        # After Redis has lost its data, a run without a checkpoint counts from 1 again.
        new = now.incarnation not in (0, self.incarnation) and now.phase != "failed"
        return new and self._presence.answers

    async def _look(self) -> TrainerState:
        now = await self._patient(self._state.get)
        self._presence.see(now.beats)
        return now

    async def _one_incarnation(self, incarnation: int, stop: asyncio.Event) -> None:
        """Run the ranks until they end, the trainer starts another incarnation, or `stop`."""
        logger.info("joining incarnation %d", incarnation)
        self.incarnation, self.running = incarnation, True
        running = asyncio.create_task(run_ranks(self._ranks, incarnation))

        def over(now: TrainerState) -> bool:
            failed = now.phase == "failed" or now.failed_elsewhere == incarnation
            return failed or now.incarnation != incarnation

        try:
            while not (running.done() or stop.is_set() or over(await self._look())):
                await asyncio.wait({running}, timeout=_LOOK_EVERY_S)
            if running.done():
                running.result()
        except RanksFailed as error:
            self.failures += 1
            logger.error("%s; waiting for the trainer's next incarnation", error)
            # The other hosts' ranks may wait for these in a collective, and notice nothing.
            await self._patient(partial(self._state.update, failed_elsewhere=incarnation))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self.running = False


async def _pause(stop: asyncio.Event) -> None:
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({stopping}, timeout=_LOOK_EVERY_S)
    stopping.cancel()
