"""Measure what the record costs: a run's throughput with recording on and off, in turns.

One run of the demo's configuration; every few steps recording is switched in Redis. The ranks put
their log-probabilities together in both turns, which is one copy of a number a token. The aim is a
cost of at most 2 %. Run it on an otherwise idle machine:

    python -m bench.record [--steps 120] [--turn 4]
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
import redis.asyncio

from bench.windows import Window, per_second, ratio
from shared.config import load_config
from shared.records.groups import groups_folder, images_folder, read_groups
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
START_TIMEOUT_S = 300.0
STEP_TIMEOUT_S = 120.0
LOOK_EVERY_S = 0.05

KINDS = {"services.trainer.rank": "ranks", "trainer": "control plane", "redis": "Redis"}
KINDS |= {"reward": "reward", "rollout": "rollout"}
"""What a command line holds, and the kind of process it is; the first that fits counts."""


@dataclass(frozen=True)
class Mark:
    """The run at one moment."""

    at: float
    settled: int
    cpu_s: dict[str, float]
    """By kind of process."""


@dataclass(frozen=True)
class Turn:
    """What happened between two marks."""

    recorded: bool
    window: Window
    cpu_s: dict[str, float]


def main() -> None:
    """Print throughput and CPU time a group, with and without the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--turn", type=int, default=4, help="steps between two switches")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name) / "run"
        with launched(folder, options.steps) as process:
            turns = asyncio.run(measure(folder, process, options.steps, options.turn))
        report(turns)
        print(on_disk(folder))
    if options.json:
        options.json.write_text(json.dumps({"on_off": on_off(turns)}, indent=2) + "\n")


@contextlib.contextmanager
def launched(folder: Path, steps: int) -> Iterator[psutil.Process]:
    """The run's launcher; everything is ended after the block."""
    data = folder / "data" / "train.jsonl"
    command = [
        *(
            sys.executable,
            "-m",
            "perl_rl",
            "launch",
            str(CONFIG),
            "--run-dir",
            str(folder),
            "--set",
        ),
        *(f"trainer.steps={steps}", f"data.train={data}", "data.heldout=null"),
        # Checkpoints would fall into some turns and not into others.
        f"trainer.checkpoint.every_steps={steps}",
    ]
    with folder.with_suffix(".out").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=STEP_TIMEOUT_S)


async def measure(folder: Path, process: psutil.Process, steps: int, turn: int) -> list[Turn]:
    """Switch the record every `turn` steps until the run's last turn; the first turn warms up."""
    await until(folder, process, turn, START_TIMEOUT_S)
    config = load_config(folder / "config.yaml")
    assert config.redis.url is not None
    client = await connect(config.redis.url, 10.0)
    keys, turns, recorded = Keys(config.run), [], True
    try:
        for step in range(2 * turn, steps - turn, turn):
            before = await mark(client, keys, process)
            await until(folder, process, step, STEP_TIMEOUT_S)
            turns.append(between(before, await mark(client, keys, process), recorded))
            recorded = not recorded
            await switch(client, keys, recorded)
    finally:
        await client.aclose()
    return turns


async def switch(client: redis.asyncio.Redis, keys: Keys, recorded: bool) -> None:
    """Turn recording on or off; the recorder goes on reading what there is."""
    hidden = f"{keys.recording}:off"
    old, new = (hidden, keys.recording) if recorded else (keys.recording, hidden)
    await client.rename(old, new)


async def until(folder: Path, process: psutil.Process, step: int, timeout_s: float) -> None:
    """Wait until the step is trained."""
    deadline = time.monotonic() + timeout_s
    while trained(folder) < step:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit(folder.with_suffix(".out").read_text())
        if time.monotonic() > deadline:
            raise SystemExit(f"step {step} was not trained within {timeout_s:.0f} s")
        await asyncio.sleep(LOOK_EVERY_S)


def trained(folder: Path) -> int:
    """The last trained step; 0 before the first."""
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


async def mark(client: redis.asyncio.Redis, keys: Keys, process: psutil.Process) -> Mark:
    """The run now."""
    counts = await Ledger(client, keys).counts()
    return Mark(time.monotonic(), counts.issued - counts.in_flight, cpu_seconds(process))


def cpu_seconds(process: psutil.Process) -> dict[str, float]:
    """CPU seconds so far of the run's processes, by kind."""
    used: dict[str, float] = defaultdict(float)
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words, times = " ".join(one.cmdline()), one.cpu_times()
            kind = next((kind for word, kind in KINDS.items() if word in words), "other")
            used[kind] += times.user + times.system
    return used


def between(before: Mark, after: Mark, recorded: bool) -> Turn:
    """The turn between two marks."""
    seconds = after.at - before.at
    window = Window(seconds, node_s=seconds, groups=after.settled - before.settled)
    cpu = {kind: after.cpu_s[kind] - before.cpu_s.get(kind, 0.0) for kind in after.cpu_s}
    return Turn(recorded, window, cpu)


def report(turns: list[Turn]) -> None:
    """Print both kinds of turns, side by side."""
    on = [one for one in turns if one.recorded]
    off = [one for one in turns if not one.recorded]
    for name, some in (("on ", on), ("off", off)):
        print(f"{name} {len(some)} turns, {per_second([one.window for one in some]):.2f} groups/s")
    both = ratio([one.window for one in on], [one.window for one in off])
    print(f"on / off = {both.value:.3f} [{both.low:.3f}, {both.high:.3f}] (aim: at least 0.98)")
    with_record, without = cpu_a_group(on), cpu_a_group(off)
    for kind in without:
        figures = (1000 * with_record.get(kind, 0.0), 1000 * without[kind])
        on_ms, off_ms = (f"{one:7.1f} ms" for one in figures)
        print(f"{kind:14} {on_ms} CPU a group with the record, {off_ms} without")
    total, added = sum(without.values()), 1000 * sum_of(with_record, without)
    share = f"{added / 10 / total:.2f} % of the {1000 * total:.0f} ms that the run takes for one"
    print(f"control plane, Redis and reward node: {added:.1f} ms more a group, {share}")


def on_off(turns: list[Turn]) -> list[float]:
    """Groups per second with the record over those without, for each two turns that follow."""
    rates = [(one.recorded, one.window.groups / one.window.seconds) for one in turns]
    return [
        first / second if recorded else second / first
        for (recorded, first), (_, second) in pairwise(rates)
    ]


def cpu_a_group(turns: list[Turn]) -> dict[str, float]:
    """CPU seconds a settled group, by kind of process."""
    groups = sum(one.window.groups for one in turns)
    kinds = sorted({kind for one in turns for kind in one.cpu_s})
    return {kind: sum(one.cpu_s.get(kind, 0.0) for one in turns) / groups for kind in kinds}


def sum_of(with_record: dict[str, float], without: dict[str, float]) -> float:
    """What the record adds where it works; the engine's and the ranks' own time varies far more."""
    kinds = ("control plane", "Redis", "reward")
    return sum(with_record.get(kind, 0.0) - without.get(kind, 0.0) for kind in kinds)


def on_disk(folder: Path) -> str:
    """What was written."""
    rows = read_groups(folder, ["group_id"]).num_rows
    groups, images = (size(one(folder)) for one in (groups_folder, images_folder))
    each = f"{groups / rows / 1e3:.1f} kB a group"
    return f"{rows} groups in {groups / 1e6:.1f} MB, {each}; images {images / 1e6:.1f} MB"


def size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())


if __name__ == "__main__":
    main()
