"""Measure what queues, ledger, feeder, rollout consumer, reward node and intake cost a group.

    python -m bench.control [--nodes 1 8 64] [--rounds 2] [--seconds 10] [--against PATH]

Every component is a process of its own, with the services' own classes on a real Redis; only the
engine and the ranks are simulated, and cost nothing (``part.py``). The figure is CPU time, which
other programs do not change much: milliseconds a group by component, and from their sum the
trajectories per second that two cores can carry. One trajectory is one response. Beside it stands
what was reached by the clock, with whatever else the machine did. With ``--against`` another
checkout is measured in turns with this one.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import redis.asyncio
import yaml

from bench.facts import machine, say
from perl_rl.demo.digits import write_data
from perl_rl.launch.embedded_redis import embedded_redis
from shared.service.connection import connect
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion

HERE = Path(__file__).resolve().parents[2]
PART = Path(__file__).with_name("part.py")
RUN, BEFORE = "control", "before"
PARTS = ("feeder", "nodes", "reward", "trainer")
CORES = 2
AIM = 2000.0
ORDERS = 2
START_S, END_S = 400.0, 20.0
WARM_GROUPS, WARM_GROUPS_A_NODE = 400, 10
SAMPLES = 12
"""Few, so that each node has all pictures when the measurement begins."""
_LOOK_S = 0.05


@dataclass(frozen=True)
class Measured:
    """One side's figures of one round."""

    side: str
    nodes: int
    groups: int
    seconds: float
    responses_a_group: int
    cpu_ms: dict[str, float]
    """Milliseconds of CPU a group, by component."""

    @property
    def total_ms(self) -> float:
        """Of all components."""
        return sum(self.cpu_ms.values())

    @property
    def possible(self) -> float:
        """Trajectories per second for which `CORES` cores suffice."""
        return 1000 * CORES / self.total_ms * self.responses_a_group

    @property
    def reached(self) -> float:
        """Trajectories per second by the clock."""
        return self.groups / self.seconds * self.responses_a_group


def settings(folder: Path, url: str, n: int, tokens: int) -> dict[str, Any]:
    """A run with 256 groups in flight."""
    return {
        "run": RUN,
        "redis": {"url": url},
        "model": {"path": "unused"},
        "data": {"train": str(folder / "data" / "train.jsonl")},
        "permutation": {"n_s": ORDERS - 1, "schedule": "constant"},
        "sampling": {"n": n, "max_tokens": tokens},
        "reward": {"port": 0, "filter": {"drop_uniform": False}},
        "trainer": {"steps": 10**6, "max_staleness": 1, "groups_per_step": 128},
    }


async def measure(
    side: str, tree: Path, nodes: int, options: argparse.Namespace, profile: bool = False
) -> Measured:
    """Start everything, warm up, and measure for ``--seconds``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(embedded_redis(folder / "redis"))
        write_data(folder / "data", train=SAMPLES, held_out=3, skew=1.0, seed=1)
        config = folder / "config.yaml"
        config.write_text(
            yaml.safe_dump(settings(folder, server.url, options.responses, options.tokens))
        )
        client, keys = await connect(server.url, 30.0), Keys(RUN)
        ledger = Ledger(client, keys)
        await ledger.restore({})
        first = PolicyVersion(incarnation=1, step=0)
        await client.hset(keys.state, mapping={"incarnation": 1})
        await VersionBoard(client, keys).announce(first, "http://bench")
        processes = {"redis": _server(server.url)}
        path = str(tree)
        if side == BEFORE and options.without:
            path = f"{_hidden(folder / 'hidden', options.without)}:{tree}"
        for part in PARTS:
            processes[part] = stack.enter_context(
                running(part, path, config, nodes, options.profile if profile else None)
            )
        await _until(client, ledger, WARM_GROUPS + WARM_GROUPS_A_NODE * nodes, processes)
        before, began = _cpu_s(processes), time.monotonic()
        start = (await ledger.counts()).trained
        await asyncio.sleep(options.seconds)
        counts = await ledger.counts()
        after, seconds = _cpu_s(processes), time.monotonic() - began
        groups = counts.trained - start
        assert counts.balanced() and groups > 0, counts
        await client.aclose()
    return Measured(
        side,
        nodes,
        groups,
        seconds,
        ORDERS * options.responses,
        {name: 1000 * (after[name] - before[name]) / groups for name in processes},
    )


@contextmanager
def running(
    part: str, path: str, config: Path, nodes: int, profile: Path | None
) -> Iterator[psutil.Process]:
    """A component's process."""
    command = [sys.executable, "-P", str(PART), part, str(config), "--count", str(nodes)]
    if profile is not None:
        command += ["--profile", str(profile / f"{part}.prof")]
    process = subprocess.Popen(command, env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _hidden(folder: Path, modules: list[str]) -> Path:
    """A folder in which these modules cannot be imported."""
    folder.mkdir()
    for module in modules:
        (folder / f"{module}.py").write_text("raise ImportError\n")
    return folder


def _server(url: str) -> psutil.Process:
    """The Redis server behind the address."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    for process in psutil.Process().children(recursive=True):
        if "redis-server" in process.name() and any(
            one.laddr.port == port for one in process.net_connections() if one.status == "LISTEN"
        ):
            return process
    raise RuntimeError(f"no redis-server listens on port {port}")


def _cpu_s(processes: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: sum(one.cpu_times()[:2]) for name, one in processes.items()}


async def _until(
    client: redis.asyncio.Redis, ledger: Ledger, groups: int, processes: dict[str, psutil.Process]
) -> None:
    """Wait until so many groups are trained.

    Raises:
        TimeoutError: after `START_S`.
        RuntimeError: when a component has ended.
    """
    async with asyncio.timeout(START_S):
        while (await ledger.counts()).trained < groups:
            for name, process in processes.items():
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    raise RuntimeError(f"the process of {name} has ended")
            await asyncio.sleep(_LOOK_S)


def line(one: Measured) -> str:
    """One round in words."""
    parts = " + ".join(f"{name} {ms:.2f}" for name, ms in one.cpu_ms.items())
    return (
        f"{one.side:6} {one.nodes:3} nodes: {parts} = {one.total_ms:.2f} ms CPU a group; "
        f"{CORES} cores carry {one.possible:.0f} trajectories/s, {one.reached:.0f} reached"
    )


def table(rounds: list[Measured]) -> Iterator[str]:
    """Medians by side and number of nodes, with the range of what the cores carry."""
    names = list(rounds[0].cpu_ms)
    yield f"{'side':6} nodes {' '.join(f'{name:>8}' for name in names)}      all  trajectories/s"
    for key in dict.fromkeys((one.side, one.nodes) for one in rounds):
        ours = [one for one in rounds if (one.side, one.nodes) == key]
        cells = [statistics.median(one.cpu_ms[name] for one in ours) for name in names]
        rates = [one.possible for one in ours]
        yield (
            f"{key[0]:6} {key[1]:5} {' '.join(f'{one:8.2f}' for one in cells)} "
            f"{statistics.median(one.total_ms for one in ours):8.2f}  "
            f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
        )


async def rounds(options: argparse.Namespace) -> list[Measured]:
    """All sides and numbers of nodes in turns: forth, then back."""
    trees = {"this": HERE} | ({BEFORE: options.against} if options.against else {})
    pairs = [(side, count) for count in options.nodes for side in trees]
    found: list[Measured] = []
    for number in range(options.rounds):
        for side, count in pairs[:: -1 if number % 2 else 1]:
            found.append(await measure(side, trees[side], count, options, profile=side == "this"))
            print(line(found[-1]), flush=True)
    return found


def _plain(one: Measured) -> dict[str, Any]:
    return {**asdict(one), "total_ms": one.total_ms, "possible": one.possible}


def main() -> None:
    """Print each round, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--responses", type=int, default=6, help="to each of the two orders")
    parser.add_argument("--tokens", type=int, default=24, help="of a response")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turns")
    parser.add_argument(
        "--without", nargs="+", default=[], help="modules that the other checkout did not have"
    )
    parser.add_argument("--profile", type=Path, help="folder for cProfile's files")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.against = options.against and options.against.absolute()
    say("machine", machine())
    found = asyncio.run(rounds(options))
    print("\n".join(table(found)))
    if options.json:
        options.json.write_text(json.dumps([_plain(one) for one in found], indent=2) + "\n")


if __name__ == "__main__":
    main()
