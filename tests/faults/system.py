"""The run that the fault suite breaks.

Services that die are started again, as an orchestrator would do, and connections can be cut.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis.asyncio
import yaml
from redis.exceptions import RedisError

from perl_rl.launch.embedded_redis import EmbeddedRedis
from perl_rl.launch.processes import Program, Supervisor
from perl_rl.report.observe import RunView, look
from perl_rl.report.summary import read_metrics
from shared.config import load_config
from shared.errors import UserError
from shared.records.groups import group_files, groups_folder, read_groups
from shared.records.steps import LOST_METRICS, METRICS, read_lines
from shared.service.connection import Patience, connect
from shared.service.ports import free_port
from shared.wire.counts import TRAINED
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from tests.faults.account import Audit
from tests.faults.proxy import Proxy
from tests.faults.setups import RUN, Setup, Simulated, service

RUN_DIR = "run"
CHECKPOINTS = f"{RUN_DIR}/checkpoints"
KEYS = Keys(RUN)
LOOK_EVERY_S = 0.2
_WORDS_WITHIN_S = 5.0


class FaultFound(AssertionError):
    """The system did not recover from a fault."""


class System:
    """All processes of one run. Use `started`."""

    def __init__(self, folder: Path, seed: int, setup: Setup | None = None) -> None:
        self.folder = folder
        self._setup = setup or Simulated()
        self.run_dir = folder / RUN_DIR
        self.checkpoints = folder / CHECKPOINTS
        self.seed = seed
        self.nodes = self._setup.nodes
        self.rewards = self._setup.rewards
        self.redis_wires: dict[str, Proxy] = {}
        self._redis_urls: dict[str, str] = {}
        self.longest_stall_s = 0.0
        self.deaths = 0
        self._settled: tuple[int, ...] = ()
        self._moved = time.monotonic()
        self._failure: str | None = None
        self._ending = asyncio.Event()
        self.nothing_starts = asyncio.Lock()
        """A fault holds it while the process that it killed must not be started again."""

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator["System"]:
        """Start everything; nothing is left after the block."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        content = self._setup.write(self.folder, self.seed)
        self.redis = EmbeddedRedis(self.folder / "redis", 60.0)
        trainer_port = free_port()
        self.trainer_url = f"http://127.0.0.1:{trainer_port}"
        weights_port = free_port()
        self.weights_wire = Proxy("127.0.0.1", weights_port)
        try:
            content["redis"]["url"] = self.redis.url
            content["trainer"]["port"] = trainer_port
            content["weights"] = content.get("weights", {}) | {
                "port": weights_port,
                "public_url": f"http://127.0.0.1:{await self.weights_wire.start()}",
            }
            await self._configure(content)
            self.client: redis.asyncio.Redis = await connect(self.redis.url, 60.0)
            self.patient = Patience(self.client, "faults", 60.0)
            async with Supervisor(self.folder / "logs", stop_timeout_s=10.0) as supervisor:
                self.supervisor = supervisor
                for program in self._programs():
                    await supervisor.start(program)
                keeping = asyncio.create_task(self._keep())
                try:
                    yield self
                finally:
                    # Do not cancel: `wait_for` may swallow it if a process exits just then.
                    self._ending.set()
                    await keeping
            await self.client.aclose()
        finally:
            for wire in (self.weights_wire, *self.redis_wires.values()):
                await wire.stop()
            self.redis.stop()

    async def _configure(self, content: dict[str, Any]) -> None:
        self.config_file = self.folder / "config.yaml"
        self.config_file.write_text(yaml.safe_dump(content))
        self.config = load_config(self.config_file)
        address = self.redis.url.rpartition("@")[2].partition("/")[0]
        host, _, port = address.partition(":")
        for name in self.nodes:
            self.redis_wires[name] = wire = Proxy(host, int(port))
            self._redis_urls[name] = self.redis.url.replace(
                address, f"127.0.0.1:{await wire.start()}"
            )

    def _programs(self) -> list[Program]:
        setup, file = self._setup, self.config_file
        rewards = [service("reward", name, file, "--port", "0") for name in self.rewards]
        nodes = [setup.rollout(name, file, self._redis_urls[name]) for name in self.nodes]
        return [self.trainer_program(setup.steps), *rewards, *nodes]

    def trainer_program(self, steps: int) -> Program:
        """The trainer, which ends after `steps` steps."""
        options = ("--run-dir", str(self.run_dir), "--set", f"trainer.steps={steps}")
        share = self._setup.trainer_share
        program = service("trainer", "trainer", self.config_file, *options)
        return replace(program, environment=share.environment(), cores=share.cores)

    async def _keep(self) -> None:
        """Start again what dies, and watch for stalls."""
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                child = await asyncio.wait_for(self.supervisor.exits.get(), LOOK_EVERY_S)
                if child.name == "trainer" and child.status in (0, 2):
                    self._failure = f"the trainer ended: {child.last_lines(3)}"
                else:
                    self.deaths += 1
                    async with self.nothing_starts:
                        await self.supervisor.start(child.program)
            if not self.redis.running:
                try:
                    await asyncio.to_thread(self.redis.start_again)
                except UserError as error:
                    self._failure = str(error)
            with contextlib.suppress(RedisError):
                await self._watch()

    async def _watch(self) -> None:
        counts = await Ledger(self.client, KEYS).counts()
        if not counts.balanced():
            self._failure = f"the ledger does not balance: {counts}"
        settled = (counts.trained, *sorted(counts.dropped.values()))
        now = time.monotonic()
        if settled != self._settled:
            self._settled, self._moved = settled, now
        self.longest_stall_s = max(self.longest_stall_s, now - self._moved)

    async def view(self) -> RunView:
        """The run as Redis shows it; after a Redis restart, old connections may break once more."""
        return await self.patient(lambda: look(self.client, KEYS))

    async def until(
        self, reached: Callable[[], Awaitable[bool]], what: str, within_s: float
    ) -> None:
        """Wait until ``await reached()`` is true; Redis may be down meanwhile.

        Raises:
            FaultFound: when it does not become true in time, or the run failed.
        """
        deadline = time.monotonic() + within_s
        while True:
            # A process may end while it is inspected.
            with contextlib.suppress(RedisError, psutil.Error):
                if await reached():
                    return
            if self._failure:
                raise FaultFound(self._failure)
            if time.monotonic() > deadline:
                raise FaultFound(f"no {what} within {within_s:.0f} s; {await self._words()}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _words(self) -> str:
        try:
            async with asyncio.timeout(_WORDS_WITHIN_S):
                return (await self.view()).waiting_for()
        except (RedisError, TimeoutError) as error:
            return f"Redis does not answer ({error})"

    def steps_done(self) -> int:
        """Steps that were ever trained, including those of lost histories."""
        rows = [*read_lines(self.run_dir / METRICS), *read_lines(self.run_dir / LOST_METRICS)]
        return len({(row["incarnation"], row["step"]) for row in rows})

    def process(self, name: str) -> psutil.Process | None:
        """A service's own process, not its reaper; None while it is not running."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if name in words and "--parent" not in words:
                    return process
        return None

    def below(self, name: str) -> list[psutil.Process]:
        """The running processes that a service has started."""
        process = self.process(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            return [] if process is None else process.children(recursive=True)
        return []

    def ranks(self) -> list[psutil.Process]:
        """The trainer's ranks."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "services.trainer.rank.main" in words and "torch.distributed.run" not in words:
                    found.append(process)
        return found

    async def control(self, action: str) -> None:
        """Send a control request to the trainer."""
        async with httpx.AsyncClient(timeout=30.0) as client:
            answer = await client.post(f"{self.trainer_url}/control/{action}")
            answer.raise_for_status()

    async def finish(self, more_steps: int, within_s: float) -> None:
        """Train a few more steps and end cleanly."""
        steps = (await self.view()).trainer.step + more_steps
        await self.supervisor.stop(["trainer"])
        self._failure = None
        await self.supervisor.start(self.trainer_program(steps))

        await self.ended("done", within_s)

    async def stop(self, within_s: float) -> None:
        """Stop the run as an operator does, which leaves groups in flight."""
        await self.control("stop")
        await self.ended("paused", within_s)

    async def ended(self, phase: str, within_s: float) -> None:
        """Wait until the trainer reports that it has ended in `phase`."""

        async def done() -> bool:
            ended = (await self.view()).trainer.phase == phase
            if ended:
                # The trainer was meant to exit.
                self._failure = None
            return ended

        await self.until(done, f"end of the run ({phase})", within_s)

    async def audit(self) -> Audit:
        """Compare the ledger with the trainer's own figures, and with the record of groups."""
        ledger = Ledger(self.client, KEYS)
        ids, settled = await ledger.groups(), await ledger.settled()
        counts = await ledger.counts()
        step = (await self.view()).trainer.step
        trained_in: dict[str, list[int]] = {}
        # Later steps belong to a lost history; this one has not reached them yet.
        for row in read_metrics(self.run_dir / "metrics.jsonl"):
            for group in row["groups"] if row["step"] <= step else ():
                trained_in.setdefault(group, []).append(row["step"])
        numbers = {int(name.removeprefix("g")) for name in ids}
        by_ledger = {name for name, state in settled.items() if state.startswith(TRAINED)}
        return Audit(
            issued=counts.issued,
            trained=counts.trained,
            dropped=counts.dropped,
            in_flight=counts.in_flight,
            # Groups are numbered without gaps: a number that the ledger does not have is lost.
            lost=len(set(range(max(numbers, default=-1) + 1)) - numbers),
            trained_twice=sum(len(steps) > 1 for steps in trained_in.values()),
            disagree=len(by_ledger ^ trained_in.keys()),
            unrecorded=await self._unrecorded(settled),
            balanced=counts.balanced(),
        )

    async def _unrecorded(self, settled: dict[str, str]) -> int:
        """How many groups differ: not recorded as they were settled, or recorded again."""
        files = group_files(groups_folder(self.run_dir))
        columns = ["group_id", "status", "step", "reason"]
        rows = read_groups(self.run_dir, columns).to_pylist() if files else []
        recorded = [
            (row["group_id"], f"{row['status']}:{row['reason'] or row['step']}") for row in rows
        ]
        for _, fields in await self.client.xrange(KEYS.records):
            one = (fields[b"group"].decode(), fields[b"state"].decode())
            # What is written is removed from the stream right after.
            recorded += [] if one in recorded else [one]
        return len(set(recorded) ^ set(settled.items())) + len(recorded) - len(set(recorded))


def kill(process: psutil.Process | None) -> bool:
    """Send SIGKILL; False if the process does not exist."""
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)
        return True
    return False
