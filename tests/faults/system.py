"""A run whose services are started again whenever they die, as an orchestrator would, for the fault
suite: real Redis, trainer and reward nodes, and rollout nodes with a simulated engine."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis.asyncio
import yaml
from redis.exceptions import RedisError

from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from perl_rl.embedded_redis import EmbeddedRedis
from perl_rl.observe import RunView, look
from perl_rl.preflight import free_port
from perl_rl.processes import Program, Supervisor
from perl_rl.summary import read_metrics
from shared.config import load_config
from shared.connection import connect
from shared.keys import Keys
from shared.ledger import Ledger
from tests.faults.proxy import Proxy

RUN = "faults"
KEYS = Keys(RUN)
LOOK_EVERY_S = 0.2
ENDLESS = 1_000_000
GROUPS_PER_STEP = 4


class FaultFound(AssertionError):
    """The system did not stand a fault."""


def settings(seed: int) -> dict[str, Any]:
    """The run's configuration, but for addresses: times are short, so that faults show soon."""
    return {
        "run": RUN,
        "seed": seed,
        "redis": {"timeout_s": 60.0},
        "model": {"path": "model", "dtype": "float32"},
        "data": {"train": "data/train.jsonl"},
        "permutation": {"n_s": 1, "schedule": "constant"},
        "sampling": {"n": 4, "max_tokens": 24},
        "rollout": {
            "heartbeat_s": 0.5,
            "lost_after_s": 4.0,
            "outdated_after_s": 5.0,
            "task_timeout_s": 20.0,
            "drain_timeout_s": 3.0,
            "concurrent_tasks": 8,
            "max_attempts": 20,
        },
        "reward": {
            "workers": 1,
            "heartbeat_s": 0.5,
            "lost_after_s": 4.0,
            "drain_timeout_s": 3.0,
            "max_attempts": 20,
        },
        "trainer": {
            "steps": ENDLESS,
            "groups_per_step": GROUPS_PER_STEP,
            "max_staleness": 1,
            "checkpoint": {"every_steps": 2, "keep": 3},
            "max_restarts": 20,
            "groups_timeout_s": 300.0,
            "drain_timeout_s": 10.0,
            # The simulated engine's log-probabilities are made up.
            "guard": {"mismatch_stop_above": None},
        },
    }


class System:
    """Everything of one run. Use `started`."""

    def __init__(self, folder: Path, seed: int, rollout_nodes: int = 2) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.checkpoints = self.run_dir / "checkpoints"
        self.seed = seed
        self.nodes = [f"simulated-{index}" for index in range(rollout_nodes)]
        self.rewards = ["reward-0", "reward-1"]
        self.redis_wires: dict[str, Proxy] = {}
        self._redis_urls: dict[str, str] = {}
        self.longest_stall_s = 0.0
        self.deaths = 0
        self._settled: tuple[int, ...] = ()
        self._moved = time.monotonic()
        self._failure: str | None = None
        self._ending = asyncio.Event()

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator["System"]:
        """Everything up; nothing of it is left after the block."""
        self._write_inputs()
        self.redis = EmbeddedRedis(self.folder / "redis", 60.0)
        trainer_port = free_port("127.0.0.1")
        self.trainer_url = f"http://127.0.0.1:{trainer_port}"
        self.weights_wire = Proxy("127.0.0.1", trainer_port)
        try:
            await self._configure(trainer_port, await self.weights_wire.start())
            self.client: redis.asyncio.Redis = await connect(self.redis.url, 60.0)
            async with Supervisor(self.folder / "logs", stop_timeout_s=10.0) as supervisor:
                self.supervisor = supervisor
                for program in self._programs():
                    await supervisor.start(program)
                keeping = asyncio.create_task(self._keep())
                try:
                    yield self
                finally:
                    # Not cancelled: `wait_for` may swallow that when an exit comes at the moment.
                    self._ending.set()
                    await keeping
            await self.client.aclose()
        finally:
            for wire in (self.weights_wire, *self.redis_wires.values()):
                await wire.stop()
            self.redis.stop()

    def _write_inputs(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        processor = build_processor()
        save(build_model(processor, seed=0), processor, self.folder / "model")
        write_data(self.folder / "data", train=400, held_out=3, skew=1.0, seed=self.seed)

    async def _configure(self, trainer_port: int, wire_port: int) -> None:
        content = settings(self.seed)
        content["redis"]["url"] = self.redis.url
        content["trainer"] |= {
            "port": trainer_port,
            "public_url": f"http://127.0.0.1:{wire_port}",
        }
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
        programs = [self.trainer_program(ENDLESS)]
        for name in self.rewards:
            programs.append(self._service("reward", name, "--port", "0"))
        for name in self.nodes:
            words = (sys.executable, "-m", "tests.faults.simulated_rollout", str(self.config_file))
            options = ("--names", name, "--set", f"redis.url={self._redis_urls[name]}")
            programs.append(Program(name, (*words, *options), {"OMP_NUM_THREADS": "1"}))
        return programs

    def trainer_program(self, steps: int) -> Program:
        """The trainer, to go on until `steps`."""
        options = ("--run-dir", str(self.run_dir), "--set", f"trainer.steps={steps}")
        return self._service("trainer", "trainer", *options)

    def _service(self, kind: str, name: str, *options: str) -> Program:
        words = (sys.executable, "-m", "perl_rl", kind, "serve", str(self.config_file))
        return Program(name, (*words, "--name", name, *options), {"OMP_NUM_THREADS": "1"})

    async def _keep(self) -> None:
        """Start again what dies, and watch for standstills."""
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                child = await asyncio.wait_for(self.supervisor.exits.get(), LOOK_EVERY_S)
                if child.name == "trainer" and child.status in (0, 2):
                    self._failure = f"the trainer ended: {child.last_lines(3)}"
                else:
                    self.deaths += 1
                    await self.supervisor.start(child.program)
            if not self.redis.running:
                await asyncio.to_thread(self.redis.start_again)
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
        """The run as Redis shows it."""
        return await look(self.client, KEYS)

    async def until(
        self, reached: Callable[[], Awaitable[bool]], what: str, within_s: float
    ) -> None:
        """Wait until ``await reached()`` holds; Redis may be away meanwhile.

        Raises:
            FaultFound: when it does not in time, or the run failed.
        """
        deadline = time.monotonic() + within_s
        while True:
            with contextlib.suppress(RedisError):
                if await reached():
                    return
            if self._failure:
                raise FaultFound(self._failure)
            if time.monotonic() > deadline:
                raise FaultFound(f"no {what} within {within_s:.0f} s; {await self.view()}")
            await asyncio.sleep(LOOK_EVERY_S)

    def steps_done(self) -> int:
        """Lines that were ever written to the metrics, those of lost histories among them."""
        file = self.run_dir / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def process(self, name: str) -> psutil.Process | None:
        """A service itself, not the guard around it; None while there is none."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if name in words and "--parent" not in words:
                    return process
        return None

    def ranks(self) -> list[psutil.Process]:
        """The processes that train."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "services.trainer.worker" in words and "torch.distributed.run" not in words:
                    found.append(process)
        return found

    async def control(self, action: str) -> None:
        """Ask the trainer for something."""
        async with httpx.AsyncClient(timeout=30.0) as client:
            answer = await client.post(f"{self.trainer_url}/control/{action}")
            answer.raise_for_status()

    async def finish(self, more_steps: int, within_s: float) -> None:
        """Train a few steps more and come to a good end."""
        steps = (await self.view()).trainer.step + more_steps
        await self.supervisor.stop(["trainer"])
        self._failure = None
        await self.supervisor.start(self.trainer_program(steps))

        async def done() -> bool:
            phase = (await self.view()).trainer.phase
            if phase == "done":
                self._failure = None
            return phase == "done"

        await self.until(done, "end of the run", within_s)

    async def audit(self) -> "Audit":
        """Compare the ledger with what the trainer says it has trained."""
        ledger = Ledger(self.client, KEYS)
        settled, counts = await ledger.settled(), await ledger.counts()
        trained_in: dict[str, list[int]] = {}
        for row in read_metrics(self.run_dir / "metrics.jsonl"):
            for group in row["groups"]:
                trained_in.setdefault(group, []).append(row["step"])
        ids = {int(name.removeprefix("g")) for name in settled}
        by_ledger = {name for name, state in settled.items() if state.startswith("trained")}
        return Audit(
            issued=counts.issued,
            trained=counts.trained,
            dropped=counts.dropped,
            in_flight=counts.in_flight,
            # Groups are numbered without gaps: one that is neither settled nor in flight is lost.
            lost=len(set(range(max(ids) + 1)) - ids) - counts.in_flight,
            trained_twice=sum(len(steps) > 1 for steps in trained_in.values()),
            disagree=len(by_ledger ^ trained_in.keys()),
            balanced=counts.balanced(),
        )


@dataclass(frozen=True)
class Audit:
    """The account at the end."""

    issued: int
    trained: int
    dropped: dict[str, int]
    in_flight: int
    lost: int
    trained_twice: int
    disagree: int
    """Groups that the ledger or the trainer's own record has as trained, and the other not."""
    balanced: bool

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    def faults(self) -> list[str]:
        """What is wrong with it."""
        wrong = [
            f"{name}: {value}"
            for name in ("lost", "trained_twice", "disagree", "in_flight")
            if (value := getattr(self, name))
        ]
        return wrong if self.balanced else [*wrong, "not balanced"]


def kill(process: psutil.Process | None) -> bool:
    """SIGKILL; False when it is not there."""
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)
        return True
    return False
