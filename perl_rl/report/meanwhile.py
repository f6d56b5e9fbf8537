"""Evaluates the policy every ``eval.every_steps`` steps, on rollout nodes that keep sampling.

Training is not held. A node may load newer weights between two answers, or within one; the result
says which policy versions answered. One evaluation runs at a time: one that is due meanwhile is
left out. What goes wrong here ends the evaluation, not the run.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import redis.asyncio

from perl_rl.report.nodes import Wanted, ask_nodes
from perl_rl.report.pace import Pace
from perl_rl.report.progress import Progress
from perl_rl.report.summary import write_json
from perl_rl.report.watch import LOOK_EVERY_S
from shared.config import Config
from shared.errors import UserError, WaitTimeout
from shared.records.evaluations import evaluation_file, figures_line
from shared.service.connection import Patience
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion
from shared.wire.runstate import RunState

if TYPE_CHECKING:
    from perl_rl.eval.heldout import HeldOutResult

logger = logging.getLogger(__name__)

_SHARE = 4
"""One of so many places in an engine's batch is for the evaluation; the others go on sampling."""


class MeanwhileEvaluation:
    """Follows a run's policy versions, and evaluates those that are due.

    Args:
        folder: the run's; results go to ``evaluations/``.
        who: names the caller when something takes too long.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        config: Config,
        folder: Path,
        progress: Progress,
        who: str,
    ) -> None:
        self._client = client
        self._config = config
        self._folder = folder
        self._progress = progress
        self._who = who
        self._patient = Patience(client, who, config.redis.timeout_s)
        keys = Keys(config.run)
        self._board = VersionBoard(client, keys)
        self._state = RunState(client, keys)
        self._running: asyncio.Task[None] | None = None
        self._asked_of: PolicyVersion | None = None

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Evaluate while the block runs; what is under way at its end is given up."""
        if self._config.data.heldout is None or self._config.eval.every_steps is None:
            yield
            return
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait({following})
            await self._give_up("training has ended")
        for task in (following, self._running):
            if task is not None and not task.cancelled():
                task.result()

    async def _follow(self) -> None:
        try:
            await self._follow_versions()
        except WaitTimeout as error:
            self._note(f"no more evaluations while training: {error}")

    async def _follow_versions(self) -> None:
        seen, last = "0", None
        while True:
            newest = await self._patient(partial(self._board.next_after, seen, LOOK_EVERY_S))
            if newest is None:
                continue
            seen, version = newest.entry_id, newest.version
            if last is not None and last.incarnation != version.incarnation:
                await self._give_up("the trainer goes on from a checkpoint")
            if self._due(last, version):
                self._begin(version)
            last = version

    def _due(self, last: PolicyVersion | None, version: PolicyVersion) -> bool:
        """Whether a multiple of ``eval.every_steps`` is reached; the ends are evaluated anyway.

        Versions may come faster than they are seen here.
        """
        every = self._config.eval.every_steps
        assert every is not None, "nothing follows the run without it"
        same = last is not None and last.incarnation == version.incarnation
        before = last.step if last is not None and same else version.step - 1
        between = 0 < version.step < self._config.trainer.steps
        return between and version.step // every > max(0, before) // every

    def _begin(self, version: PolicyVersion) -> None:
        if evaluation_file(self._folder, version.step).exists():
            return
        if self._running is not None and not self._running.done():
            assert self._asked_of is not None, "something is running"
            self._note(
                f"no evaluation at step {version.step}: that of step {self._asked_of.step} is "
                "still under way (raise eval.every_steps, or lower data.heldout_samples)"
            )
            return
        self._asked_of = version
        self._running = asyncio.create_task(self._evaluate(version))

    async def _evaluate(self, version: PolicyVersion) -> None:
        what = f"evaluation at step {version.step}"
        pace = Pace(what, self._progress, self._note)
        wanted = self._wanted(version)
        try:
            async with self._shown(version.step):
                found = await ask_nodes(
                    self._client, self._config, self._folder, self._who, what, wanted, pace
                )
                await self._keep(version, found)
        except UserError as error:
            self._note(f"{what} is given up: {error}")
        finally:
            pace.end()

    @asynccontextmanager
    async def _shown(self, step: int) -> AsyncIterator[None]:
        """While the block runs, ``status`` shows it and the trainer keeps the step's checkpoint."""
        await self._patient(partial(self._state.update, evaluating=step))
        try:
            yield
        finally:
            await self._patient(partial(self._state.update, evaluating=0))

    def _wanted(self, version: PolicyVersion) -> Wanted:
        rollout = self._config.rollout
        return Wanted(
            lambda one: one.incarnation == version.incarnation and one.step >= version.step,
            self._config.weights.fetch_timeout_s,
            rollout.start_timeout_s,
            max(1, rollout.engine.max_num_seqs // _SHARE),
        )

    async def _keep(self, version: PolicyVersion, found: "HeldOutResult") -> None:
        if (await self._patient(self._state.get)).incarnation != version.incarnation:
            raise UserError("the trainer goes on from a checkpoint before it")
        file = evaluation_file(self._folder, version.step)
        file.parent.mkdir(exist_ok=True)
        content = found.model_dump(mode="json")
        write_json(file, content)
        line = figures_line(content)
        self._note(f"evaluation at step {version.step}: {line}")
        evaluation = f"step {version.step}: {line}"
        await self._patient(partial(self._state.update, evaluation=evaluation))

    async def _give_up(self, why: str) -> None:
        if self._running is None or self._running.done():
            return
        assert self._asked_of is not None, "something is running"
        self._running.cancel()
        await asyncio.wait({self._running})
        self._note(f"evaluation at step {self._asked_of.step} is given up: {why}")

    def _note(self, text: str) -> None:
        self._progress.note(text)
        logger.info(text)
