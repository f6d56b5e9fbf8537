"""Starts the services of one run, restarts those that die, and stops all when training is done."""

import asyncio
import importlib
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import redis.asyncio

from perl_rl.ending import USER_ERROR_STATUS, RunFailed
from perl_rl.launch.data_beside import DataBeside
from perl_rl.launch.dead_letters import add_cause, keep_dead_letters
from perl_rl.launch.division import Division, Resources
from perl_rl.launch.embedded_redis import EmbeddedRedis
from perl_rl.launch.preflight import node_port
from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.launch.restarts import Restarts
from perl_rl.launch.start_times import ALL, Starting
from perl_rl.launch.trackers import RunTrackers
from perl_rl.launch.turns import ENGINES, start_in_turn
from perl_rl.launch.view import NAME as VIEW
from perl_rl.launch.view import view_address, view_program
from perl_rl.report.account import check_account
from perl_rl.report.evaluation import Evaluation, EvaluationFailed
from perl_rl.report.meanwhile import MeanwhileEvaluation
from perl_rl.report.observe import RunView
from perl_rl.report.progress import Progress
from perl_rl.report.summary import DONE
from perl_rl.report.watch import LOOK_EVERY_S, RunWatch
from shared.config import Config
from shared.errors import UserError
from shared.service.connection import connect
from shared.together import together
from shared.wire.keys import Keys
from shared.wire.runstate import RunState

logger = logging.getLogger(__name__)


class Session:
    """One launch of a run. Use an instance once."""

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
        self._run_watch = RunWatch(config, folder, progress, "launcher", self._doing)
        cores = frozenset(os.sched_getaffinity(0))
        everything = Resources(len(cores), cores).engine_environment()
        self._evaluation = Evaluation(config, config_file, folder, progress, "launcher", everything)
        self._trackers = RunTrackers(config, config_file, folder, self._note)
        self._restarts = Restarts(config.launcher.max_restarts, config.launcher.restart_window_s)
        self.data_checked = False
        """Whether the data is good; before that there is no run."""
        self._started: float | None = None
        self._starting = Starting(folder, config.run)
        self._wall_s = 0.0

    async def run(self, supervisor: Supervisor) -> None:
        """Evaluate, train, evaluate, and write the summary, also when the run fails.

        Raises:
            RunFailed: when a process failed for good or the run's account does not add up.
            UserError: when a service refuses its input or settings.
        """
        url = self._config.redis.url
        assert url is not None, "the launcher fills it in"
        client = await connect(
            url, self._config.redis.timeout_s, ca_file=self._config.redis.ca_file
        )
        outcome = "interrupted"
        try:
            await self._forget_last_state(client)
            await self._train(supervisor, client)
            await self._evaluation.after(client)
            await self._stop_services(supervisor)
            await self._evaluate_rest(supervisor)
            outcome = DONE
        except (RunFailed, UserError) as error:
            add_cause(error, await keep_dead_letters(client, self._keys, self._folder))
            outcome = f"failed: {error}".splitlines()[0]
            raise
        finally:
            self._write_summary(outcome)
            if outcome != "interrupted":
                await self._trackers.finish(supervisor)
            await keep_dead_letters(client, self._keys, self._folder)
            await client.aclose()
        self._note(f"done: {self._folder / 'summary.json'}")
        self._note(f"look at it: perl-rl view {self._folder}")

    async def _forget_last_state(self, client: redis.asyncio.Redis) -> None:
        """Clear what an earlier launch left in Redis: it must not pass for this launch's state."""
        await RunState(client, self._keys).update(phase="starting", detail="its process starts")
        # Nobody serves weights any more at the address of an old version. Nodes that are alive
        # register again with their next heartbeat.
        await client.delete(self._keys.versions, self._keys.nodes)

    async def _train(self, supervisor: Supervisor, client: redis.asyncio.Redis) -> None:
        for line in self._division.lines():
            self._note(line)
        await self._start(supervisor, client)
        self._note(f"watch it from another terminal: perl-rl status --run-dir {self._folder}")
        meanwhile = MeanwhileEvaluation(
            client, self._config, self._folder, self.progress, "launcher"
        )
        async with meanwhile.beside():
            trained = self._until_trained(supervisor, client)
            await together([trained, self._evaluation.before(client)])
        self._wall_s = self._lasted_s()
        logger.info("the trainer has ended")
        await self._let_nodes_catch_up(supervisor, client)
        view = self._run_watch.view
        assert view is not None, "the launcher has looked at least once"
        log = self._folder / "logs" / "trainer.log"
        check_account(view, self._folder, f"see {log}")

    async def _stop_services(self, supervisor: Supervisor) -> None:
        self.progress.state("stopping the services", None)
        services = [one for one in supervisor.running() if not self._trackers.owns(one)]
        await together([supervisor.stop(services), self._load_page()])
        logger.info("all services have ended")

    async def _load_page(self) -> None:
        """What draws the report takes as long to import as the services take to end."""
        if self._evaluation.results:
            await asyncio.to_thread(importlib.import_module, "perl_rl.report.page")

    async def _start(self, supervisor: Supervisor, client: redis.asyncio.Redis) -> None:
        """Check the data and start everything: first the engines, which take longest."""
        programs = self._programs()
        engines = [program for program in programs if program.name.startswith(ENGINES)]
        if self._config.view.enabled:
            await supervisor.start(view_program(self._config, self._folder))
            self._note(f"see it in a browser: {view_address(self._config)}")
        self._note(self._what_starts())
        data = DataBeside(self._config, self._folder, self.progress)

        async def start_engines() -> None:
            await data.only_prompts_left.wait()
            self._started = time.monotonic()
            self._starting.begin("the engine")
            await self._start_engines(engines, supervisor, client)

        await together([data.check(), start_engines()])
        self.data_checked = True
        await self._trackers.start(supervisor)
        await self._evaluation.hold(client)
        self._starting.begin("the trainer")
        for program in programs:
            if program not in engines:
                await supervisor.start(program)

    def _what_starts(self) -> str:
        config, last = self._config, self._starting.last.get(ALL)
        nodes = f"{config.rollout.nodes} rollout (vLLM), {config.reward.nodes} reward"
        known = "" if last is None else f"; it took {last:.0f} s last time"
        return f"starting nodes: {nodes}, and the trainer (DeepSpeed){known}"

    async def _start_engines(
        self, engines: list[Program], supervisor: Supervisor, client: redis.asyncio.Redis
    ) -> None:
        if not self._division.shares_gpus:
            for program in engines:
                await supervisor.start(program)
            return
        self._note("processes share GPUs: the engines start first, one after the other")

        async def up(name: str) -> bool:
            view = await self._run_watch.look(client)
            return view is not None and any(
                one.name == name and one.engine_up for one in view.nodes
            )

        patience_s = self._config.rollout.start_timeout_s
        await start_in_turn(engines, supervisor, up, self._after_death, patience_s)

    async def _let_nodes_catch_up(
        self, supervisor: Supervisor, client: redis.asyncio.Redis
    ) -> None:
        """Wait until every rollout node has the last version or is lost."""
        deadline = time.monotonic() + self._config.rollout.lost_after_s
        await self._run_watch.look(client)
        while behind := self._behind():
            if time.monotonic() > deadline:
                self._note(f"these nodes did not load the last version: {', '.join(behind)}")
                return
            await supervisor.next_exit(LOOK_EVERY_S)
            await self._run_watch.look(client)

    def _behind(self) -> list[str]:
        view = self._run_watch.view
        if view is None:
            return []
        return [
            node.name
            for node in view.nodes
            if node.kind == "rollout" and node.version != view.version
        ]

    def _programs(self) -> list[Program]:
        config, division = self._config, self._division
        trainer = self._service("trainer", "trainer", division.trainer, config.trainer.port)
        # It writes a checkpoint when it is told to stop.
        programs = [replace(trainer, stop_timeout_s=config.trainer.drain_timeout_s)]
        for index in range(config.reward.nodes):
            port = node_port(config.reward.port, index)
            programs.append(self._service("reward", f"reward-{index}", division.light, port))
        for index, resources in enumerate(division.rollout):
            port = node_port(config.rollout.port, index)
            program = self._service("rollout", f"rollout-{index}", resources, port)
            if config.rollout.engine.tensor_parallel_size == 1:
                environment = resources.engine_environment()
                program = replace(program, environment=environment, cores=None)
            programs.append(program)
        return programs

    def _service(self, kind: str, name: str, resources: Resources, port: int) -> Program:
        debug = ("--debug",) if self._debug else ()
        command = (sys.executable, "-m", "perl_rl", *debug, kind, "serve", str(self._config_file))
        options = ("--name", name, "--port", str(port), "--run-dir", str(self._folder))
        return Program(name, (*command, *options), resources.environment(), resources.cores)

    async def _until_trained(self, supervisor: Supervisor, client: redis.asyncio.Redis) -> None:
        """Return when the trainer has ended with status 0."""
        while True:
            child = await supervisor.next_exit(LOOK_EVERY_S)
            await self._keep_redis()
            self._say_when_up(await self._run_watch.look(client))
            if child is None:
                continue
            if child.name == "trainer" and child.status == 0:
                return
            await self._after_death(supervisor, child)

    def _say_when_up(self, view: RunView | None) -> None:
        if view is not None and self._starting.see(view, self._config.rollout.nodes):
            self._note(f"everything is up after {self._starting.took_s:.0f} s")

    def _doing(self, view: RunView) -> str:
        waiting = view.waiting_for(self._config.rollout.nodes + self._config.reward.nodes)
        doing = "; ".join(filter(None, [self._starting.doing(), waiting]))
        counts = view.counts
        return f"{doing}; groups: {counts.trained} trained, " + (
            f"{counts.in_flight} in flight, {sum(counts.dropped.values())} dropped"
        )

    async def _keep_redis(self) -> None:
        """Restart the embedded Redis when it has ended; the services wait for it."""
        server = self._redis_server
        if server is None or server.running:
            return
        if not self._restarts.allowed("redis"):
            raise RunFailed(f"Redis ended {self._restarts.refusal('redis')}")
        self._note("Redis has ended; starting it again from its append-only file")
        await asyncio.to_thread(server.start_again)

    async def _after_death(self, supervisor: Supervisor, child: Child) -> None:
        """Restart a service, unless it died too often."""
        name, status = child.name, child.status
        if name == VIEW:
            await self._after_view(supervisor, child)
            return
        if status == USER_ERROR_STATUS:
            raise UserError(child.user_error())
        if status == 0:
            self._note(f"{name} has left")
            kind = name.partition("-")[0]
            if not any(other.startswith(f"{kind}-") for other in supervisor.running()):
                raise RunFailed(f"the last {kind} node ({name}) has left; see {child.log}")
            return
        if not self._restarts.allowed(name):
            raise RunFailed(f"{child.ending(name)}\n{name} ended {self._restarts.refusal(name)}")
        self._note(f"{child.ending(name)}\nstarting {name} again ({self._restarts.total[name]})")
        await supervisor.start(child.program)

    async def _after_view(self, supervisor: Supervisor, child: Child) -> None:
        """Serve the pages again, unless they died too often; the run goes on without them."""
        if child.status != USER_ERROR_STATUS and self._restarts.allowed(VIEW):
            self._note(f"the pages of this run have ended, see {child.log}; starting them again")
            await supervisor.start(child.program)
            return
        self._note(
            f"the pages of this run have ended, see {child.log}; the run goes on without them "
            f"(perl-rl view {self._folder} serves them)"
        )

    async def _evaluate_rest(self, supervisor: Supervisor) -> None:
        try:
            await self._evaluation.rest(supervisor)
        except EvaluationFailed as failure:
            if failure.child.status == USER_ERROR_STATUS:
                raise UserError(failure.child.user_error()) from None
            raise

    def _write_summary(self, outcome: str) -> None:
        if self._run_watch.view is None or self._started is None:
            return
        evaluated = self._evaluation.results
        self._run_watch.write_summary(
            outcome, self._wall_s or self._lasted_s(), evaluated, self._restarts.total
        )

    def _lasted_s(self) -> float:
        """Seconds since the first engine was started."""
        assert self._started is not None, "something has been started"
        return time.monotonic() - self._started

    def _note(self, text: str) -> None:
        self.progress.note(text)
        logger.info(text)
