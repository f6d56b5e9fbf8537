"""Runs a training run: the feeder and the ranks side by side, again from the last checkpoint when
the ranks fail."""

import asyncio
import logging
from pathlib import Path

import redis.asyncio

from services.trainer.checkpoint import CheckpointFolder
from services.trainer.feeder import Feeder
from services.trainer.ranks import RanksFailed, run_ranks
from services.trainer.runstate import RunState
from shared.config import Config
from shared.errors import UserError
from shared.keys import Keys
from shared.ledger import Ledger
from shared.sample import load_samples

logger = logging.getLogger(__name__)


class ControlPlane:
    """One run on this host; the routes read `state` and `ledger`."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        config: Config,
        config_file: Path,
        run_dir: Path,
        url: str,
    ) -> None:
        self._config = config
        self._config_file = config_file
        self._run_dir = run_dir
        self._url = url
        keys = Keys(config.run)
        self._client = client
        self._keys = keys
        self.state = RunState(client, keys)
        self.ledger = Ledger(client, keys)
        self._feeder = Feeder(client, keys, config, load_samples(config.data.train))
        self._checkpoints = CheckpointFolder(
            run_dir / "checkpoints", config.trainer.checkpoint.keep
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Train to the end; failed ranks are started again, up to ``trainer.max_restarts`` times.

        Raises:
            UserError: when the ranks cannot go on.
        """
        restarts = self._config.trainer.max_restarts
        for attempt in range(restarts + 1):
            try:
                await self._attempt(stop)
                return
            except UserError as error:
                await self.state.update(phase="failed", detail=str(error))
                raise
            except RanksFailed as error:
                logger.error("%s (start %d of %d)", error, attempt + 1, restarts + 1)
                await self.state.update(phase="failed", detail=str(error))
        raise UserError(
            f"trainer: the ranks failed {restarts + 1} times (trainer.max_restarts); "
            "the log above says why"
        )

    async def queued(self) -> dict[str, int]:
        """Entries in each stream, those being worked on among them."""
        keys = self._keys
        streams = {
            "prompts": keys.prompts,
            "trajectories": keys.trajectories,
            "groups": keys.groups,
        }
        return {name: int(await self._client.xlen(stream)) for name, stream in streams.items()}

    async def _attempt(self, stop: asyncio.Event) -> None:
        incarnation = await self._begin()
        stop_feeding = asyncio.Event()
        ranks = asyncio.create_task(
            run_ranks(
                self._config_file,
                self._run_dir,
                self._config.trainer.ranks,
                incarnation,
                f"{self._url}/weights",
                self._config.trainer.drain_timeout_s / 2,
            )
        )
        feeding = asyncio.create_task(self._feeder.run(incarnation, stop_feeding))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({ranks, feeding, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if ranks.done():
                ranks.result()
            elif feeding.done():
                feeding.result()
        finally:
            stop_feeding.set()
            stopping.cancel()
            ranks.cancel()
            await asyncio.gather(ranks, feeding, stopping, return_exceptions=True)

    async def _begin(self) -> int:
        """Restore the ledger from the last checkpoint and open a new incarnation."""
        found = self._checkpoints.latest()
        before = (await self.state.get()).incarnation
        settled: dict[str, str] = {}
        step = 0
        if found is not None:
            _, checkpoint = found
            before = max(before, checkpoint.incarnation)
            settled, step = checkpoint.settled, checkpoint.step
        await self.state.clear_wishes()
        await self.ledger.restore(settled)
        await self.state.update(
            phase="starting",
            incarnation=before + 1,
            step=step,
            steps=self._config.trainer.steps,
        )
        logger.info("incarnation %d starts at step %d", before + 1, step)
        return before + 1
