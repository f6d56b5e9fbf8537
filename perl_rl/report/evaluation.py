"""Evaluates the start model and the policy on a run's held-out questions.

The rollout nodes answer them where they can: before training they hold the start model, after it
the policy. What they could not answer, an engine of its own does (`perl_rl.report.heldout`), in a
child process, so that its parent never loads torch.
"""

import asyncio
import contextlib
import json
import logging
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import redis.asyncio

from perl_rl.ending import RunFailed
from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.report.nodes import Wanted, ask_nodes
from perl_rl.report.pace import Pace
from perl_rl.report.progress import Progress
from perl_rl.report.summary import read_metrics, write_json
from perl_rl.report.watch import LOOK_EVERY_S
from shared.config import Config
from shared.errors import WaitTimeout
from shared.records.evaluations import evaluation_file
from shared.records.steps import METRICS
from shared.service.connection import OUTAGE, Patience, heeding_cancel
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion
from shared.wire.runstate import RunState

if TYPE_CHECKING:
    from perl_rl.eval.heldout import HeldOutResult

logger = logging.getLogger(__name__)

When = Literal["before", "after"]

HOLD_S = 30.0
"""Training goes on this long after an evaluation whose process has died."""
_TELL_EVERY_S = 1.0

_ANSWERED = re.compile(r"answered: (\d+) of (\d+)")


class EvaluationFailed(RunFailed):
    """An evaluation ended with another status than 0."""

    def __init__(self, when: str, child: Child) -> None:
        super().__init__(child.ending(f"the evaluation {when} training"))
        self.child = child


class Evaluation:
    """Evaluates the models of one run.

    Args:
        config_file: holds `config`; the child reads it.
        folder: the run's; results go there as ``eval-before.json`` and ``eval-after.json``. A
            result before training is kept if it exists.
        who: names the caller when an evaluation takes too long.
        environment: variables for the child, added to this process's own.
    """

    def __init__(
        self,
        config: Config,
        config_file: Path,
        folder: Path,
        progress: Progress,
        who: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._config_file = config_file
        self._folder = folder
        self._progress = progress
        self._who = who
        self._environment = dict(environment or {})
        self._keys = Keys(config.run)
        self.results: dict[str, dict[str, Any]] = {}
        """``before`` and ``after``, as far as there are: `HeldOutResult` as JSON."""
        if config.data.heldout is not None and self._file("before").exists():
            self._read("before")

    def missing(self) -> list[When]:
        """The evaluations that are still to be done."""
        if self._config.data.heldout is None:
            return []
        return [when for when in ("before", "after") if when not in self.results]

    async def hold(self, client: redis.asyncio.Redis) -> None:
        """Keep the trainer from its first step until `before` does; call it before it starts."""
        if "before" in self.missing():
            await RunState(client, self._keys).hold(HOLD_S)

    async def before(self, client: redis.asyncio.Redis) -> None:
        """Ask the start model through the rollout nodes; the trainer waits before its first step.

        Does nothing when there is a result, or when the run has trained a step.

        Raises:
            UserError: when a question gets no answer.
            WaitTimeout: when there are no first weights within ``trainer.start_timeout_s``, or it
                takes longer than ``eval.timeout_s``.
        """
        if "before" not in self.missing():
            return
        board, patience = VersionBoard(client, self._keys), self._config.trainer.start_timeout_s
        async with _holding(RunState(client, self._keys)):
            if (await self._first_version(client, board)).step > 0:
                return
            wanted = Wanted(lambda one: one.step == 0, patience, patience)
            found = await self._ask_nodes(client, "before", wanted)
            if (await self._first_version(client, board)).step > 0:
                self._note("a step was trained during the evaluation before training: it is void")
            elif found is not None:
                self._keep("before", found)

    async def after(self, client: redis.asyncio.Redis) -> None:
        """Ask the policy through the rollout nodes that hold the last version.

        Raises:
            UserError: when a question gets no answer.
            WaitTimeout: when it takes longer than ``eval.timeout_s``.
        """
        if "after" not in self.missing():
            return
        patient = self._patience(client)
        current = await patient(VersionBoard(client, self._keys).current)
        state = await patient(RunState(client, self._keys).get)
        if current is None or current.version.step < state.steps:
            return
        last, patience = current.version, self._config.weights.fetch_timeout_s
        wanted = Wanted(lambda one: one == last, patience, self._config.rollout.lost_after_s)
        found = await self._ask_nodes(client, "after", wanted)
        if found is not None:
            self._keep("after", found)

    async def rest(self, supervisor: Supervisor) -> None:
        """Do what is missing with an engine of its own; `supervisor` runs nothing else meanwhile.

        A result before training that was kept and is of other questions is done again.

        Raises:
            EvaluationFailed: when the child failed.
            WaitTimeout: when it takes longer than ``eval.timeout_s``.
        """
        for when in self.missing():
            await self._own_engine(supervisor, when)
        if not self.alike():
            self._note("the evaluation before training was of other questions: doing it again")
            await self._own_engine(supervisor, "before")

    def alike(self) -> bool:
        """Whether both results are of the same questions in the same orders."""
        asked = [one.get("asked") for one in self.results.values()]
        return all(one == asked[0] for one in asked)

    async def _first_version(
        self, client: redis.asyncio.Redis, board: VersionBoard
    ) -> PolicyVersion:
        """The trainer's current version, once there is one."""
        patient, patience_s = self._patience(client), self._config.trainer.start_timeout_s
        deadline = time.monotonic() + patience_s
        while (current := await patient(board.current)) is None:
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    self._who, "the first weights", patience_s, "trainer.start_timeout_s"
                )
            await patient(lambda: board.next_after("0", LOOK_EVERY_S))
        return current.version

    def _patience(self, client: redis.asyncio.Redis) -> Patience:
        return Patience(client, self._who, self._config.redis.timeout_s)

    async def _ask_nodes(
        self, client: redis.asyncio.Redis, when: When, wanted: Wanted
    ) -> "HeldOutResult | None":
        """What the nodes answer; None when there are none with these weights any more."""
        # Here, because pictures and the client of the API take a while to import.
        from perl_rl.eval.nodes import NoNode

        what = f"evaluation {when} training"
        pace = Pace(what, self._progress, self._note)
        try:
            async with _telling(RunState(client, self._keys), pace):
                found = await ask_nodes(
                    client, self._config, self._folder, self._who, what, wanted, pace
                )
        except NoNode as error:
            self._note(f"{what}: {error}; an engine of its own does it later")
            return None
        finally:
            pace.end()
        self._note(pace.summary())
        return found

    async def _own_engine(self, supervisor: Supervisor, when: When) -> None:
        model = self._config.model.path if when == "before" else self._folder / "policy"
        command = (sys.executable, "-m", "perl_rl.report.heldout", str(self._config_file))
        options = ("--model", str(model), "--out", str(self._file(when)))
        program = Program(f"evaluation-{when}", (*command, *options), self._environment)
        child = await supervisor.start(program)
        patience = self._config.eval.timeout_s
        deadline = time.monotonic() + patience
        self._note(f"evaluation {when} training: starting an engine (log: {child.log})")
        pace = Pace(f"evaluation {when} training", self._progress, self._note)
        while await supervisor.next_exit(LOOK_EVERY_S) is None:
            said = _ANSWERED.findall("\n".join(child.last_lines(5)))
            if said:
                pace(*map(int, said[-1]))
            else:
                self._progress.state(f"evaluation {when} training: the engine starts", None)
            if time.monotonic() > deadline:
                raise WaitTimeout(self._who, f"evaluation {when}", patience, "eval.timeout_s")
        pace.end()
        if child.status != 0:
            raise EvaluationFailed(when, child)
        self._read(when)

    def _keep(self, when: When, found: "HeldOutResult") -> None:
        write_json(self._file(when), found.model_dump(mode="json"))
        self._read(when)

    def _file(self, when: When) -> Path:
        return self._folder / f"eval-{when}.json"

    def _read(self, when: When) -> None:
        self.results[when] = json.loads(self._file(when).read_text(encoding="utf-8"))
        if "asked" not in self.results[when]:
            # Of an older version of this software; done again when there is the other one.
            return
        last = read_metrics(self._folder / METRICS)[-1:]
        step = last[0]["step"] if when == "after" and last else 0
        file = evaluation_file(self._folder, step)
        file.parent.mkdir(exist_ok=True)
        write_json(file, self.results[when])

    def _note(self, text: str) -> None:
        self._progress.note(text)
        logger.info(text)


@asynccontextmanager
async def _telling(state: RunState, pace: Pace) -> AsyncIterator[None]:
    """``perl-rl status`` says how far the evaluation is while the block runs."""

    async def tell() -> None:
        while True:
            try:
                await heeding_cancel(lambda: state.tell_evaluation(pace.line))
            except OUTAGE as error:
                logger.debug("status does not hear of the evaluation: %s", error)
            await asyncio.sleep(_TELL_EVERY_S)

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        with contextlib.suppress(*OUTAGE):
            await heeding_cancel(state.evaluation_ended)


@asynccontextmanager
async def _holding(state: RunState) -> AsyncIterator[None]:
    """The ranks wait before their next step while the block runs."""

    async def renew() -> None:
        while True:
            try:
                await heeding_cancel(lambda: state.hold(HOLD_S))
            except OUTAGE as error:
                logger.warning("the trainer's hold is not renewed: %s", error)
            await asyncio.sleep(HOLD_S / 4)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        try:
            await heeding_cancel(state.release)
        except OUTAGE:
            logger.warning("training goes on within %.0f s", HOLD_S)
