"""One run's services from their start to their end: the part of a launch that waits and watches.

A service that dies is started again, within a limit; the trainer's good end is the run's end.
"""

import asyncio
import json
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from perl_rl.launch.division import Division, Resources
from perl_rl.launch.embedded_redis import EmbeddedRedis
from perl_rl.launch.preflight import node_port
from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.launch.restarts import Restarts
from perl_rl.report.observe import RunView, look
from perl_rl.report.progress import Progress
from perl_rl.report.summary import (
    MetricsTail,
    plain_robustness,
    read_metrics,
    summarise,
    write_json,
)
from shared.config import Config
from shared.errors import UserError, WaitTimeout
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo
from shared.wire.runstate import RunState

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""How often Redis is asked, and at most how late the display is."""

LINES_SHOWN = 20
"""Of a dead child's log."""

DONE = "done"
"""The outcome in ``summary.json`` of a run that did what was asked."""

USER_ERROR_STATUS = 2
_ERROR_PREFIX = "perl-rl: error: "


class RunFailed(Exception):
    """The run did not do what its configuration asked; says which process failed and how."""


class Session:
    """Runs the services of one configuration. Use an instance once."""

    def __init__(
        self,
        config: Config,
        config_file: Path,
        folder: Path,
        division: Division,
        progress: Progress,
        redis_server: EmbeddedRedis | None = None,
        debug: bool = False,
    ) -> None:
        self.progress = progress
        self._config = config
        self._config_file = config_file
        self._folder = folder
        self._division = division
        self._redis_server = redis_server
        self._debug = debug
        self._keys = Keys(config.run)
        self._metrics = MetricsTail(folder / "metrics.jsonl")
        self._nodes: dict[str, NodeInfo] = {}
        self._restarts = Restarts(config.launcher.max_restarts, config.launcher.restart_window_s)
        self._view: RunView | None = None
        self._seen = time.monotonic()
        self._started: float | None = None
        self._wall_s = 0.0
        self._evaluation: dict[str, Any] = {"before": None, "after": None}

    async def run(self, supervisor: Supervisor) -> None:
        """Evaluate, train, evaluate, and write the summary, also when the run fails.

        Raises:
            RunFailed: when a process failed for good or the run's account does not add up.
            UserError: when a service found an input or setting it cannot work with.
        """
        url = self._config.redis.url
        assert url is not None, "the launcher fills it in"
        client = await connect(
            url, self._config.redis.timeout_s, ca_file=self._config.redis.ca_file
        )
        outcome = "interrupted"
        try:
            await self._forget_last_state(client)
            self._evaluation["before"] = await self._evaluate(
                supervisor, "before", self._config.model.path
            )
            await self._train(supervisor, client)
            self._evaluation["after"] = await self._evaluate(
                supervisor, "after", self._folder / "policy"
            )
            outcome = DONE
        except (RunFailed, UserError) as error:
            outcome = f"failed: {error}".splitlines()[0]
            raise
        finally:
            self._write_summary(outcome)
            await client.aclose()
        self._note(f"done: {self._folder / 'summary.json'}")

    async def _forget_last_state(self, client: redis.asyncio.Redis) -> None:
        """What an earlier launch of the run said last must not be taken for this one's words."""
        await RunState(client, self._keys).update(phase="starting")
        # An old announcement names an address where nobody serves those weights any more; nodes
        # that are alive enter their names again with the next heartbeat.
        await client.delete(self._keys.versions, self._keys.nodes)

    async def _train(self, supervisor: Supervisor, client: redis.asyncio.Redis) -> None:
        for line in self._division.lines():
            self._note(line)
        self._started = time.monotonic()
        for program in self._programs():
            await supervisor.start(program)
        self._note(f"watch it from elsewhere: perl-rl status --run-dir {self._folder}")
        await self._watch(supervisor, client)
        self._wall_s = time.monotonic() - self._started
        logger.info("the trainer has ended")
        await self._let_nodes_catch_up(supervisor, client)
        self.progress.state("stopping the services", None)
        await supervisor.stop(supervisor.running())
        logger.info("all services have ended")
        assert self._view is not None, "the launcher has looked at least once"
        log = self._folder / "logs" / "trainer.log"
        check_account(self._view, self._config.trainer.steps, self._folder, f"see {log}")

    async def _let_nodes_catch_up(
        self, supervisor: Supervisor, client: redis.asyncio.Redis
    ) -> None:
        """Wait until every rollout node has said that it took the last version, or is lost."""
        deadline = time.monotonic() + self._config.rollout.lost_after_s
        await self._look(client)
        while behind := self._behind():
            if time.monotonic() > deadline:
                self._note(f"the last version was not taken by: {', '.join(behind)}")
                return
            await self._next_exit(supervisor, LOOK_EVERY_S)
            await self._look(client)

    def _behind(self) -> list[str]:
        view = self._view
        nodes = [] if view is None else view.nodes
        return [
            node.name
            for node in nodes
            if node.kind == "rollout" and view is not None and node.version != view.version
        ]

    def _programs(self) -> list[Program]:
        config, division = self._config, self._division
        programs = [self._service("trainer", "trainer", division.trainer, config.trainer.port)]
        for index in range(config.reward.nodes):
            port = node_port(config.reward.port, index)
            programs.append(self._service("reward", f"reward-{index}", division.light, port))
        for index, share in enumerate(division.rollout):
            port = node_port(config.rollout.port, index)
            program = self._service("rollout", f"rollout-{index}", share, port)
            if config.rollout.engine.tensor_parallel_size == 1:
                program = replace(program, environment=share.engine_environment(), cores=None)
            programs.append(program)
        return programs

    def _service(self, kind: str, name: str, share: Resources, port: int) -> Program:
        debug = ("--debug",) if self._debug else ()
        command = (sys.executable, "-m", "perl_rl", *debug, kind, "serve", str(self._config_file))
        options = ("--name", name, "--port", str(port), "--run-dir", str(self._folder))
        return Program(name, (*command, *options), share.environment(), share.cores)

    async def _watch(self, supervisor: Supervisor, client: redis.asyncio.Redis) -> None:
        """Return when the trainer has ended in good order."""
        while True:
            child = await self._next_exit(supervisor, LOOK_EVERY_S)
            await self._keep_redis()
            await self._look(client)
            if child is None:
                continue
            if child.name == "trainer" and child.status == 0:
                return
            await self._after_death(supervisor, child)

    async def _next_exit(self, supervisor: Supervisor, timeout_s: float) -> Child | None:
        try:
            return await asyncio.wait_for(supervisor.exits.get(), timeout_s)
        except TimeoutError:
            return None

    async def _look(self, client: redis.asyncio.Redis) -> None:
        for row in self._metrics.new():
            self.progress.step(row, self._config.trainer.steps)
            logger.info("step %d", row["step"])
        try:
            view = await look(client, self._keys)
        except RedisError as error:
            patience = self._config.redis.timeout_s
            if time.monotonic() - self._seen > patience:
                raise WaitTimeout("launcher", "Redis", patience, "redis.timeout_s") from error
            self.progress.state(f"waiting for Redis ({error})", self._view)
            return
        self._seen, self._view = time.monotonic(), view
        self._nodes |= {node.name: node for node in view.nodes}
        self.progress.state(self._doing(view), view)

    def _doing(self, view: RunView) -> str:
        expected = self._config.rollout.nodes + self._config.reward.nodes
        absent = expected - len(view.nodes) - len(view.lost)
        unseen = f"; {absent} nodes not there yet" if absent > 0 else ""
        counts = view.counts
        return f"{view.waiting_for()}{unseen}; groups: {counts.trained} trained, " + (
            f"{counts.in_flight} in flight, {sum(counts.dropped.values())} dropped"
        )

    async def _keep_redis(self) -> None:
        """Start our own Redis again when it has ended; the services sit that out."""
        server = self._redis_server
        if server is None or server.running:
            return
        if not self._restarts.allowed("redis"):
            raise RunFailed(f"Redis ended {self._restarts.refusal('redis')}")
        self._note("Redis has ended; starting it again with what its append-only file holds")
        await asyncio.to_thread(server.start_again)

    async def _after_death(self, supervisor: Supervisor, child: Child) -> None:
        """Start a service again; give up when it died too often."""
        name, status = child.name, child.status
        if status == USER_ERROR_STATUS:
            raise UserError(_user_error(child))
        if status == 0:
            self._note(f"{name} has left")
            kind = name.partition("-")[0]
            if not any(other.startswith(f"{kind}-") for other in supervisor.running()):
                raise RunFailed(f"the last {kind} node ({name}) has left; see {child.log}")
            return
        if not self._restarts.allowed(name):
            raise RunFailed(f"{_obituary(child)}\n{name} ended {self._restarts.refusal(name)}")
        self._note(f"{_obituary(child)}\nstarting {name} again ({self._restarts.total[name]})")
        await supervisor.start(child.program)

    async def _evaluate(
        self, supervisor: Supervisor, when: str, model: Path
    ) -> dict[str, Any] | None:
        """The order report of `model` on the held-out data; None when there is none.

        A resumed run keeps the report from before training.
        """
        if self._config.data.heldout is None:
            return None
        out = self._folder / f"eval-{when}.json"
        if when == "after" or not out.exists():
            cores = frozenset(os.sched_getaffinity(0))
            command = (sys.executable, "-m", "perl_rl.report.heldout", str(self._config_file))
            options = ("--model", str(model), "--out", str(out))
            share = Resources(len(cores), cores)
            program = Program(
                f"evaluation-{when}", (*command, *options), share.environment(), cores
            )
            await self._until_end(supervisor, await supervisor.start(program), when)
        return plain_robustness(json.loads(out.read_text(encoding="utf-8")))

    async def _until_end(self, supervisor: Supervisor, child: Child, when: str) -> None:
        patience = self._config.eval.timeout_s
        deadline = time.monotonic() + patience
        while await self._next_exit(supervisor, LOOK_EVERY_S) is None:
            said = child.last_lines(1)
            self.progress.state(f"evaluation {when} training: {said[0] if said else '...'}", None)
            if time.monotonic() > deadline:
                raise WaitTimeout("launcher", f"evaluation {when}", patience, "eval.timeout_s")
        if child.status == USER_ERROR_STATUS:
            raise UserError(_user_error(child))
        if child.status != 0:
            raise RunFailed(_obituary(child))

    def _write_summary(self, outcome: str) -> None:
        if self._view is None or self._started is None:
            return
        summary = summarise(
            read_metrics(self._folder / "metrics.jsonl"),
            self._view.counts,
            sorted(self._nodes.values(), key=lambda node: node.name),
            self._restarts.total,
            self._wall_s or time.monotonic() - self._started,
            self._evaluation,
            outcome,
        )
        write_json(self._folder / "summary.json", summary)

    def _note(self, text: str) -> None:
        self.progress.note(text)
        logger.info(text)


def check_account(view: RunView, steps: int, folder: Path, hint: str) -> None:
    """The trainer said that it is done; the account has to agree.

    Raises:
        RunFailed: when steps are missing, groups are not accounted for, or there is no model.
    """
    state = view.trainer
    if state.phase != "done" or state.step < steps:
        raise RunFailed(
            f"the trainer ended at step {state.step} of {steps}, {state.phase} {state.detail}; "
            f"{hint}"
        )
    if not view.counts.balanced():
        raise RunFailed(f"the ledger does not balance: {view.counts}")
    if not (folder / "policy").is_dir():
        raise RunFailed(f"the trainer left no model in {folder / 'policy'}")


def _obituary(child: Child) -> str:
    status = child.status or 0
    how = f"signal {status - 128}" if status > 128 else f"status {status}"
    lines = [f"    {line}" for line in child.last_lines(LINES_SHOWN)]
    return "\n".join([f"{child.name} ended with {how}; the end of {child.log}:", *lines])


def _user_error(child: Child) -> str:
    """The line with which the child's command line refused its input, and where its log is."""
    lines = child.last_lines(LINES_SHOWN)
    told = [line for line in lines if line.startswith(_ERROR_PREFIX)]
    line = told[-1].removeprefix(_ERROR_PREFIX) if told else (lines or ["no word in its log"])[-1]
    return f"{child.name}: {line} (log: {child.log})"
