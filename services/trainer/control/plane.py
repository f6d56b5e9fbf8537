"""Runs the feeder beside the ranks; failed ranks start again from the last checkpoint."""

import asyncio
import contextlib
import logging
import time
from functools import partial
from pathlib import Path

import redis.asyncio
from prometheus_client import CollectorRegistry

from services.trainer.control.feeder import Feeder
from services.trainer.control.identity import identity_of, keep_identity
from services.trainer.control.ranks import HostRanks, RanksFailed, run_ranks
from services.trainer.control.recorder import Recorder
from services.trainer.control.resuming import where_it_goes_on
from services.trainer.control.run_gauges import RunGauges
from services.trainer.control.watchdog import Watchdog
from services.trainer.hosts.presence import beat
from services.trainer.rank.checkpoint_folder import CheckpointFolder, CheckpointState
from shared.config import Config
from shared.errors import UserError
from shared.formats import load
from shared.service.connection import Patience
from shared.service.tracing import Spans
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.registry import Registry
from shared.wire.runstate import RunState

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5


class ControlPlane:
    """The trainer's side of one run; the routes read its `state` and `ledger`."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        config: Config,
        config_file: Path,
        run_dir: Path,
        weights_url: str,
    ) -> None:
        self._client, self._keys = client, Keys(config.run)
        self._config = config
        self._config_file = config_file
        self._run_dir = run_dir
        self._patient = Patience(client, "trainer", config.redis.timeout_s)
        self._weights_url = weights_url
        keys = self._keys
        self.state = RunState(client, keys)
        self.ledger = Ledger(client, keys)
        self._board = VersionBoard(client, keys)
        self._registry = Registry(client, keys)
        self.watchdog = Watchdog(client, keys, config.trainer.stall_after_s)
        data = load(config.data, config.data.train_sources(), run_dir / "images")
        self._sources = data.sizes
        keep_identity(run_dir, identity_of(config, data.sizes))
        self.recorder = Recorder(client, keys, config, run_dir)
        self.spans = Spans(config.run, config.tracing, "trainer", "trainer")
        self._feeder = Feeder(
            *(client, keys, config, data.samples, data.sizes, self.recorder.images, self.spans)
        )
        self._checkpoints = CheckpointFolder(
            run_dir / "checkpoints", config.trainer.checkpoint.keep
        )

    def run_gauges(self, registry: CollectorRegistry) -> RunGauges:
        """Gauges of this run in `registry`."""
        stall_after_s = self._config.trainer.stall_after_s
        return RunGauges(registry, self._client, self._keys, self._run_dir, stall_after_s)

    async def run(self, stop: asyncio.Event) -> None:
        """Train to the end; with ``trainer.serve_after_end``, keep serving until `stop`.

        Failed ranks are started again, at most ``trainer.max_restarts`` times without a new
        checkpoint in between.

        Raises:
            UserError: when the ranks cannot continue.
        """
        logger.info("objective: %s", self._config.trainer.objective.line())
        beside = [asyncio.create_task(one) for one in (self.watchdog.run(), beat(self.state))]
        recording = asyncio.create_task(self.recorder.run())
        try:
            await self._run(stop)
            await self._patient(partial(self._let_nodes_catch_up, stop))
            if self._config.trainer.serve_after_end:
                logger.info("the run has ended; serving its last weights until stopped")
                await stop.wait()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._finish_recording(recording)

    async def _finish_recording(self, recording: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(self._config.trainer.drain_timeout_s):
                await self.recorder.finish()
                await recording
        except TimeoutError:
            logger.error(
                "the last groups were not recorded within %.0f s (trainer.drain_timeout_s); a "
                "resumed run records them",
                self._config.trainer.drain_timeout_s,
            )

    async def _let_nodes_catch_up(self, stop: asyncio.Event) -> None:
        """Serve the last weights until every live rollout node has them.

        For ``weights.fetch_timeout_s`` at most: a node that fails to fetch them ends nothing.
        """
        deadline = time.monotonic() + self._config.weights.fetch_timeout_s
        while not stop.is_set() and time.monotonic() < deadline:
            current = await self._board.current()
            nodes, _ = await self._registry.nodes()
            last = None if current is None else str(current.version)
            # Those that have no version or are draining have nothing to catch up with.
            samplers = [one for one in nodes if one.version and one.state != "draining"]
            if all(one.version == last for one in samplers):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_EVERY_S)

    async def _run(self, stop: asyncio.Event) -> None:
        restarts, failures = self._config.trainer.max_restarts, 0
        reached = self._checkpoints.newest_step()
        while failures <= restarts:
            try:
                await self._attempt(stop)
                return
            except UserError as error:
                await self._failed(error)
                raise
            except RanksFailed as error:
                # A new checkpoint resets the count of failures.
                step = self._checkpoints.newest_step()
                failures, reached = (1 if step > reached else failures + 1), step
                logger.error("%s (failure %d; %d restarts allowed)", error, failures, restarts)
                await self._failed(error)
        raise UserError(
            f"trainer: the ranks failed {failures} times without a new checkpoint between "
            "(trainer.max_restarts); the log above says why"
        )

    async def _failed(self, error: Exception) -> None:
        await self._patient(partial(self.state.update, phase="failed", detail=str(error)))

    async def _attempt(self, stop: asyncio.Event) -> None:
        for damage in await asyncio.to_thread(self._checkpoints.set_damaged_aside):
            logger.error("damaged checkpoint: %s", damage)
        incarnation = await self._patient(self._begin)
        stop_feeding = asyncio.Event()
        ranks = asyncio.create_task(
            run_ranks(
                HostRanks(
                    self._config.trainer, self._config_file, self._run_dir, self._weights_url
                ),
                incarnation,
            )
        )
        feeding = asyncio.create_task(self._feeder.run(incarnation, stop_feeding))
        stopping = asyncio.create_task(stop.wait())
        elsewhere = asyncio.create_task(self._failure_elsewhere(incarnation))
        tasks = {ranks, feeding, stopping, elsewhere}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in (ranks, feeding, elsewhere) if task.done()]
            if ended:
                ended[0].result()
            else:
                stop_feeding.set()
                await self._end_with_a_checkpoint(ranks)
        finally:
            stop_feeding.set()
            for unneeded in (stopping, ranks, elsewhere):
                unneeded.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _failure_elsewhere(self, incarnation: int) -> None:
        """Wait until the ranks of a worker host fail.

        Raises:
            RanksFailed: then.
        """
        while (await self._patient(self.state.get)).failed_elsewhere != incarnation:
            await asyncio.sleep(_LOOK_EVERY_S)
        raise RanksFailed("the ranks of a worker host failed; its log says why")

    async def _end_with_a_checkpoint(self, ranks: asyncio.Task[None]) -> None:
        """Let the ranks finish their step and write a checkpoint, as far as there is time."""
        if (await self._patient(self.state.get)).phase == "starting":
            return
        await self._patient(partial(self.state.ask, "stop", True))
        patience = self._config.trainer.drain_timeout_s / 2
        await asyncio.wait({ranks}, timeout=patience)
        step = self._checkpoints.newest_step()
        if not ranks.done():
            logger.error(
                "the ranks wrote no checkpoint within %.0f s (half of trainer.drain_timeout_s); a "
                "resumed run continues after step %d",
                patience,
                step,
            )
            return
        ranks.result()
        logger.info("stopped; a resumed run continues after step %d", step)

    async def _begin(self) -> int:
        """Restore the ledger from the last checkpoint and start a new incarnation."""
        found = self._checkpoints.latest()
        before = (await self.state.get()).incarnation
        last, where = CheckpointState(0, 0, {}), ""
        if found is not None:
            last = found[1]
            where = f"goes on with {where_it_goes_on(self._config, last, self._sources)}"
        before, step = max(before, last.incarnation), last.step
        await self.state.clear_wishes()
        await self.recorder.catch_up()
        await self.ledger.restore(last.settled, last.verdicts, last.skipped)
        await self.recorder.begin(last.settled, step, before + 1)
        await self.state.update(
            phase="starting",
            detail="; ".join(filter(None, (where, "its ranks load the model"))),
            evaluating=0,
            evaluation="",
            stalled="",
            failed_elsewhere=0,
            incarnation=before + 1,
            step=step,
            steps=self._config.trainer.steps,
        )
        logger.info("incarnation %d starts at step %d %s", before + 1, step, where)
        return before + 1
