"""Measure how well steps overlap: the mean step against the longer of sampling and training alone.

Runs the demo's model and questions with real services, each pinned to its cores as ``perl-rl
launch`` pins them, and without a filter, so that each step takes as many groups. Two trainers run
one after the other on the same nodes:

- alone: all batches may be sampled at once, and training is held until they are. So first sampling
  has the machine for itself, then training has it.
- together: with ``max_staleness: 1``.

The goal is a ratio of at most 1.1 on one node and 1.15 on two. With ``--against`` another checkout
is measured in turns with this one; its nodes are up all the time and idle while they wait.

    python -m bench.overlap [--nodes 1] [--rounds 2] [--steps 10] [--against PATH] [--json FILE]
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import redis.asyncio
import yaml

from perl_rl.demo.digits import write_data
from perl_rl.launch.division import Division, divide_cores
from perl_rl.launch.embedded_redis import embedded_redis
from perl_rl.launch.processes import Program, Supervisor
from shared.service.connection import connect
from shared.service.ports import free_port
from shared.wire.keys import Keys
from shared.wire.registry import Registry
from shared.wire.runstate import RunState

HERE = Path(__file__).resolve().parents[1]
PATIENCE_S = 300.0
_LOOK_S = 0.05
_HOLD_S = 30.0
_WARM_STEPS = 2
"""Steps whose groups were sampled before the first one was trained."""


@dataclass(frozen=True)
class Round:
    """One side's figures of one round, in seconds a step."""

    side: str
    nodes: int
    sampling_alone_s: float
    training_alone_s: float
    together_s: float
    trainer_idle_share: float
    """Of the steps together: waiting for groups."""

    @property
    def ratio(self) -> float:
        """The mean step against the longer of the two stages."""
        return self.together_s / max(self.sampling_alone_s, self.training_alone_s)


class Side:
    """One checkout with its nodes, which stay up."""

    def __init__(
        self, name: str, tree: Path, folder: Path, url: str, nodes: int, steps: int, staleness: int
    ) -> None:
        self.name, self.nodes, self._tree, self._folder = name, nodes, tree, folder
        self._steps, self._staleness = steps, staleness
        self._division: Division = divide_cores(sorted(os.sched_getaffinity(0)), nodes, 1)
        self._keys = Keys(name)
        self._config = self._demo_config(url)
        self._legs = 0

    def _demo_config(self, url: str) -> dict[str, Any]:
        """The checkout's own demo, without filter and evaluation."""
        file = self._tree / "configs" / "demo.yaml"
        config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        del config["security"], config["eval"], config["trainer"]["public_url"]
        for service in ("rollout", "reward", "trainer"):
            del config[service]["host"]
        config["run"] = self.name
        config["redis"] = {"url": url}
        config["model"]["path"] = str(self._tree / "perl_rl" / "demo" / "start_model")
        config["data"] = {
            "train": str(self._folder / "data" / "train.jsonl"),
            "instruction": config["data"]["instruction"],
        }
        config["reward"]["filter"] = {"drop_uniform": False}
        config["trainer"] |= {"steps": self._steps, "start_nodes": self.nodes}
        config["trainer"]["checkpoint"]["every_steps"] = 10 * self._steps
        return config

    async def start(self, supervisor: Supervisor) -> None:
        """Start its nodes."""
        file = self._write("nodes", self._staleness)
        await supervisor.start(self._program("reward", "reward-0", file))
        for index in range(self.nodes):
            await supervisor.start(self._program("rollout", f"rollout-{index}", file, index))

    async def up(self, supervisor: Supervisor, client: redis.asyncio.Redis) -> None:
        """Wait until its engines are up."""
        registry, deadline = Registry(client, self._keys), time.monotonic() + PATIENCE_S
        while sum(one.engine_up for one in (await registry.nodes())[0]) < self.nodes:
            await _none_ended(supervisor)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: the engines are not up after {PATIENCE_S:.0f} s")

    async def round(self, supervisor: Supervisor, client: redis.asyncio.Redis) -> Round:
        """Both stages alone, then together."""
        async with _held(RunState(client, self._keys)) as release:
            file = await self._begin(supervisor, self._steps)
            sampling_s = await self._sampled(supervisor, client)
            release()
        alone = await self._rows(supervisor, file)
        together = await self._rows(supervisor, await self._begin(supervisor, self._staleness))
        measured = together[_WARM_STEPS:]
        steps_s = _step_seconds(together)[_WARM_STEPS - 1 :]
        return Round(
            self.name,
            self.nodes,
            sampling_s,
            statistics.fmean(_step_seconds(alone)),
            statistics.fmean(steps_s),
            sum(row["wait_s"] for row in measured) / sum(steps_s),
        )

    async def _begin(self, supervisor: Supervisor, staleness: int) -> Path:
        """Start a trainer; returns its metrics file."""
        self._legs += 1
        folder = self._folder / f"{self.name}-{self._legs}"
        file = self._write(folder.name, staleness)
        await supervisor.start(self._program("trainer", "trainer", file, run_dir=folder))
        return folder / "metrics.jsonl"

    async def _sampled(self, supervisor: Supervisor, client: redis.asyncio.Redis) -> float:
        """Seconds a step's groups take, from the first step's last group to the last one's."""
        groups = self._config["trainer"]["groups_per_step"]
        first: float | None = None
        while (scored := int(await client.xlen(self._keys.groups))) < self._steps * groups:
            if first is None and scored >= groups:
                first, seen = time.monotonic(), scored
            await _none_ended(supervisor)
        assert first is not None, "a step's groups come before those of all steps"
        return (time.monotonic() - first) / ((scored - seen) / groups)

    async def _rows(self, supervisor: Supervisor, metrics: Path) -> list[dict[str, Any]]:
        """The steps' figures, once the trainer has ended."""
        child = await supervisor.next_exit(PATIENCE_S)
        if child is None or child.status != 0:
            raise RuntimeError("no end" if child is None else child.ending(child.name))
        return [json.loads(line) for line in metrics.read_text().splitlines()]

    def _write(self, name: str, staleness: int) -> Path:
        file = self._folder / f"{self.name}-{name}.yaml"
        trainer = {**self._config["trainer"], "max_staleness": staleness}
        file.write_text(yaml.safe_dump({**self._config, "trainer": trainer}), encoding="utf-8")
        return file

    def _program(
        self, kind: str, name: str, config: Path, index: int = 0, run_dir: Path | None = None
    ) -> Program:
        command = (sys.executable, "-m", "perl_rl", kind, "serve", str(config), "--name", name)
        options = ("--port", str(free_port()), "--run-dir", str(run_dir or self._folder / "run"))
        resources = {
            "rollout": self._division.rollout[index],
            "trainer": self._division.trainer,
            "reward": self._division.light,
        }[kind]
        if kind == "rollout":
            environment, cores = resources.engine_environment(), None
        else:
            environment, cores = resources.environment(), resources.cores
        environment |= {"PYTHONPATH": str(self._tree)}
        return Program(f"{self.name}-{name}", (*command, *options), environment, cores)


async def _none_ended(supervisor: Supervisor) -> None:
    """Wait a moment for a service to end, which none should."""
    child = await supervisor.next_exit(_LOOK_S)
    if child is not None:
        raise RuntimeError(child.ending(child.name))


@contextlib.asynccontextmanager
async def _held(state: RunState) -> AsyncIterator[Any]:
    """Hold the ranks until the yielded function is called."""
    done = asyncio.Event()

    async def renew() -> None:
        while not done.is_set():
            await state.hold(_HOLD_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), _HOLD_S / 3)
        await state.release()

    await state.hold(_HOLD_S)
    renewing = asyncio.create_task(renew())
    try:
        yield done.set
    finally:
        done.set()
        await renewing


def _step_seconds(rows: list[dict[str, Any]]) -> list[float]:
    """From the end of each step to the end of the next one."""
    times = [row["time"] for row in rows]
    return [after - before for before, after in pairwise(times)]


async def measure(options: argparse.Namespace, folder: Path, url: str) -> list[Round]:
    """All sides in turns."""
    write_data(folder / "data", seed=1)
    trees = {"this": HERE} | ({"before": options.against} if options.against else {})
    sides = [
        Side(name, tree, folder, url, options.nodes, options.steps, options.staleness)
        for name, tree in trees.items()
    ]
    client = await connect(url, 30.0)
    rounds: list[Round] = []
    try:
        async with Supervisor(folder / "logs", stop_timeout_s=20.0) as supervisor:
            for side in sides:
                await side.start(supervisor)
            for side in sides:
                await side.up(supervisor, client)
            for number in range(options.rounds):
                for side in sides[:: -1 if number % 2 else 1]:
                    rounds.append(await side.round(supervisor, client))
                    print(_line(rounds[-1]), flush=True)
    finally:
        await client.aclose()
    return rounds


def _line(one: Round) -> str:
    return (
        f"{one.nodes} node{'s' * (one.nodes > 1)}, {one.side}: sampling alone "
        f"{one.sampling_alone_s:.2f} s, training alone {one.training_alone_s:.2f} s, together "
        f"{one.together_s:.2f} s a step (trainer waits {one.trainer_idle_share:.0%}): ratio "
        f"{one.ratio:.2f}"
    )


def table(rounds: list[Round]) -> Iterator[str]:
    """A line for each side: medians, and the range of the ratio."""
    yield "side     sampling alone  training alone  together  ratio (range over rounds)"
    for side in dict.fromkeys(one.side for one in rounds):
        ours = [one for one in rounds if one.side == side]
        ratios = [one.ratio for one in ours]
        figures = [
            statistics.median(getattr(one, name) for one in ours)
            for name in ("sampling_alone_s", "training_alone_s", "together_s")
        ]
        yield "{:8} {:12.2f} s  {:12.2f} s  {:6.2f} s  {:.2f} ({:.2f} to {:.2f})".format(
            side, *figures, statistics.median(ratios), min(ratios), max(ratios)
        )


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
    }


def main() -> None:
    """Print each round, then the table with the machine's facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--staleness", type=int, default=1, help="of the steps together")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turns")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    options = parser.parse_args()
    options.against = options.against and options.against.absolute()
    target = options.json and options.json.absolute()
    with tempfile.TemporaryDirectory() as name, embedded_redis(Path(name) / "redis") as server:
        # Python looks for modules in the working directory first, whatever the checkout.
        os.chdir(name)
        rounds = asyncio.run(measure(options, Path(name), server.url))
    facts = machine()
    print("\n".join(table(rounds)))
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    if target:
        figures = [{**asdict(one), "ratio": one.ratio} for one in rounds]
        target.write_text(json.dumps({"machine": facts, "rounds": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
