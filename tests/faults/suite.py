"""``make faults``: breaks a run again and again, and checks that no group is lost or trained twice.

Redis, reward nodes and the DeepSpeed trainer are real. Rollout nodes have a simulated engine, so
that a hundred faults fit into half an hour. After each fault the run must train again within the
patience. ``--engine real`` uses vLLM and a few faults: see `tests.faults.real`. Whatever happens,
the suite ends within its time and prints its table; its exit status shows how it ended
(`tests.faults.account.Status`).
"""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from shared.errors import UserError
from tests.faults import real
from tests.faults.account import Account, Status
from tests.faults.bound import Bound
from tests.faults.catalog import FAULTS, small_disk, unmount
from tests.faults.injection import PATIENCE_S, run_suite, schedule
from tests.faults.system import CHECKPOINTS

CHECKPOINT_DISK_MIB = 512


def run_simulated(options: argparse.Namespace, folder: Path) -> int:
    """Many faults, with simulated engines."""
    counts = {name: times for name, (_, times) in FAULTS.items()}
    names = schedule(counts, random.Random(options.seed))[: options.faults]
    account = Account(names, options.least, PATIENCE_S)
    disk = folder / CHECKPOINTS
    with (
        small_disk(disk, CHECKPOINT_DISK_MIB),
        Bound(options.minutes * 60, account, partial(_clear, folder, disk)) as bound,
    ):
        return bound.run(run_suite(folder, options.seed, account, bound.seconds))


def run_real(options: argparse.Namespace, folder: Path) -> int:
    """A few faults, with the whole system real."""
    names = schedule(real.FAULTS, random.Random(options.seed))[: options.faults]
    account = Account(names, options.least, real.PATIENCE_S)
    with Bound(options.minutes * 60, account, partial(_clear, folder)) as bound:
        both = real.run_both(folder, options.seed, account, bound.seconds, options.steps)
        return bound.run(both)


def _clear(folder: Path, *disks: Path) -> None:
    """Remove what a suite leaves when it does not reach its end."""
    for disk in disks:
        with contextlib.suppress(OSError):
            unmount(disk)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run the suite; see `Status` for what it returns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["simulated", "real"], default="simulated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=None, help="inject only the first N faults")
    parser.add_argument("--least", type=int, default=100, help="with fewer, it is unfinished")
    parser.add_argument("--minutes", type=float, default=29.0, help="time limit of the whole suite")
    parser.add_argument("--steps", type=int, default=real.STEPS, help="with --engine real")
    options = parser.parse_args()
    run = run_real if options.engine == "real" else run_simulated
    try:
        with tempfile.TemporaryDirectory(prefix="perl-faults-", ignore_cleanup_errors=True) as name:
            return run(options, Path(name))
    except UserError as error:
        print(f"faults: {error}", file=sys.stderr)
        return Status.IMPOSSIBLE


if __name__ == "__main__":
    sys.exit(main())
