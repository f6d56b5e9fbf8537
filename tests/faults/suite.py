"""``make faults``: a run that is hurt again and again, and the account of it.

Real Redis, reward nodes and DeepSpeed trainer; rollout nodes with a simulated engine, so that a
hundred faults fit into half an hour. After each fault the run must train on within the patience.
With ``--engine real``, a few faults and vLLM: see `tests.faults.real`. Whatever happens, the suite
ends within its time and prints its table; its exit status tells how it ended
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
    """Many faults, and engines that only pretend."""
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
    """Few faults, and all of the system."""
    names = schedule(real.FAULTS, random.Random(options.seed))[: options.faults]
    account = Account(names, options.least, real.PATIENCE_S)
    with Bound(options.minutes * 60, account, partial(_clear, folder)) as bound:
        both = real.run_both(folder, options.seed, account, bound.seconds, options.steps)
        return bound.run(both)


def _clear(folder: Path, *disks: Path) -> None:
    """Remove what a suite that did not get to its end leaves."""
    for disk in disks:
        with contextlib.suppress(OSError):
            unmount(disk)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run the suite; see `Status` for what it returns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["simulated", "real"], default="simulated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=None, help="the first so many of all")
    parser.add_argument("--least", type=int, default=100, help="fewer are an unfinished suite")
    parser.add_argument("--minutes", type=float, default=29.0, help="bound of the whole suite")
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
