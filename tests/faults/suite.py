"""``make faults``: a run that is hurt again and again, and the account of it.

Real Redis, reward nodes and DeepSpeed trainer; rollout nodes with a simulated engine, so that a
hundred faults fit into half an hour. After each fault the run must train on within the patience.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.catalog import FAULTS, small_disk
from tests.faults.system import Audit, FaultFound, System

PATIENCE_S = 180.0
"""The longest time after a fault in which no step may be trained."""

CHECKPOINT_DISK_MIB = 512


@dataclass
class Row:
    """One kind of fault in the table."""

    times: int = 0
    issued: int = 0
    trained: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    recovery_s: list[float] = field(default_factory=list)


def schedule(counts: dict[str, int], rng: random.Random) -> list[str]:
    """Names of faults in a random order, each as often as asked."""
    names = [name for name, count in counts.items() for _ in range(count)]
    rng.shuffle(names)
    return names


async def inject_all(
    system: System, names: list[str], rng: random.Random, until_s: float
) -> dict[str, Row]:
    """Inject the faults one after another, each once the run has trained on after the last.

    Args:
        until_s: no fault is begun after this many seconds.
    """
    rows: dict[str, Row] = defaultdict(Row)
    began = time.monotonic()
    await _trains(system, 0)
    for number, name in enumerate(names, start=1):
        if time.monotonic() - began > until_s:
            print(f"time is up: {len(names) - number + 1} faults are not injected", flush=True)
            break
        before, steps, start = await system.view(), system.steps_done(), time.monotonic()
        fault, _ = FAULTS[name]
        try:
            await fault(system, rng)
            await _trains(system, steps)
        except FaultFound as found:
            raise FaultFound(f"{name}: {found}") from None
        row, after = rows[name], await system.view()
        row.times += 1
        row.recovery_s.append(time.monotonic() - start)
        # A trainer that went back to its checkpoint counts less than before for a while.
        row.issued += max(0, after.counts.issued - before.counts.issued)
        row.trained += max(0, after.counts.trained - before.counts.trained)
        for reason, count in after.counts.dropped.items():
            row.dropped[reason] += max(0, count - before.counts.dropped.get(reason, 0))
        step = after.trainer.step
        print(
            f"[{number}/{len(names)}] {name}: {row.recovery_s[-1]:.1f} s, step {step}", flush=True
        )
    return rows


async def _trains(system: System, steps: int) -> None:
    async def on() -> bool:
        return system.steps_done() > steps

    await system.until(on, "step trained", PATIENCE_S)


def table(rows: dict[str, Row], audit: Audit, longest_stall_s: float) -> str:
    """The figures in columns."""
    head = ("fault", "times", "issued", "trained", "dropped", "lost", "twice", "slowest")
    lines = [head]
    for name, row in rows.items():
        dropped = ", ".join(f"{why} {count}" for why, count in row.dropped.items() if count) or "0"
        slowest = f"{max(row.recovery_s):.1f} s"
        lines.append((name, row.times, row.issued, row.trained, dropped, "", "", slowest))
    dropped = ", ".join(f"{why} {count}" for why, count in audit.dropped.items()) or "0"
    lines.append(
        (
            "the whole run",
            sum(row.times for row in rows.values()),
            audit.issued,
            audit.trained,
            dropped,
            audit.lost,
            audit.trained_twice,
            f"{longest_stall_s:.1f} s",
        )
    )
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


async def run_suite(folder: Path, seed: int, counts: dict[str, int], until_s: float) -> int:
    """Inject, end the run well, and print the account; the number of things found wrong."""
    rng = random.Random(seed)
    system = System(folder, seed)
    names = schedule(counts, rng)
    async with system.started():
        rows = await inject_all(system, names, rng, until_s)
        await system.finish(more_steps=3, within_s=PATIENCE_S)
        audit = await system.audit()
    print(table(rows, audit, system.longest_stall_s))
    print(f"processes that died and were started again: {system.deaths}")
    wrong = audit.faults()
    if system.longest_stall_s > PATIENCE_S:
        wrong.append(f"a stall of {system.longest_stall_s:.0f} s")
    print("wrong: " + "; ".join(wrong) if wrong else "0 groups lost, 0 trained twice")
    return len(wrong)


async def _main(options: argparse.Namespace) -> int:
    counts = {name: max(1, round(most * options.share)) for name, (_, most) in FAULTS.items()}
    with tempfile.TemporaryDirectory(prefix="perl-faults-") as name:
        folder = Path(name)
        async with small_disk(folder / "run" / "checkpoints", CHECKPOINT_DISK_MIB):
            try:
                return await run_suite(folder, options.seed, counts, options.minutes * 60)
            except FaultFound as found:
                print(f"failed: {found}")
                return 1


def main() -> int:
    """Run the suite; exit status 0 when nothing was lost, trained twice, or stood still."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the number of each fault")
    parser.add_argument("--minutes", type=float, default=25.0, help="begin no fault after these")
    return min(1, asyncio.run(_main(parser.parse_args())))


if __name__ == "__main__":
    sys.exit(main())
