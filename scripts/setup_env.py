"""Make `.venv`: pinned requirements, the CPU or the GPU set, and this project, editable.

Standard library only: it runs before anything is installed. A finished set-up leaves a stamp with
the digest of everything it was made from, and a second run does nothing. After an interrupted
set-up the next run repairs what is broken and continues.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import platform
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from set_up.environment import usable
from set_up.machine import driver_answers, missing, use_newer_python
from set_up.plan import COMPILE, Plan, SetupError, read_stamp, write_stamp
from set_up.steps import steps

ROOT = Path(__file__).resolve().parent.parent


def set_up(root: Path, profile: str | None, flash_attn: str | None) -> None:
    plan = make_plan(root, profile, flash_attn)
    if read_stamp(root).get("key") == plan.key() and usable(plan):
        print("set-up: up to date")
        return
    lacks = missing(plan)
    if lacks:
        raise SetupError("missing: " + "; also missing: ".join(lacks))
    with only_one(root):
        run_steps(plan)


def make_plan(root: Path, profile: str | None, flash_attn: str | None) -> Plan:
    """The set that was asked for; by default that of the last set-up, or what the machine has.

    Args:
        flash_attn: as in `Plan`; an empty text asks for a set-up without it.
    """
    stamp = read_stamp(root)
    chosen = profile or stamp.get("profile") or ("gpu" if driver_answers() else "cpu")
    last = stamp.get("flash_attn")
    flash = (str(last) if last else None) if flash_attn is None else flash_attn or None
    if flash and chosen != "gpu":
        raise SetupError("flash-attn needs the GPU set: add --profile gpu or --no-flash-attn")
    return Plan(root, str(chosen), flash)


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold this checkout's set-up lock: the script file, because it always exists."""
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another set-up is running in {root}: run this again when it is done"
            raise SetupError(message) from None
        yield


def run_steps(plan: Plan) -> None:
    began, key = time.monotonic(), plan.key()
    name = "CPU" if plan.profile == "cpu" else "GPU"
    print(f"set-up: {name} set, Python {platform.python_version()}, into {plan.venv}", flush=True)
    todo = steps(plan)
    for number, (title, step) in enumerate(todo, start=1):
        print(f"[{number}/{len(todo)}] {title}", flush=True)
        step_began = time.monotonic()
        try:
            step(plan)
        except SetupError as error:
            where = f"; log: {plan.log}" if plan.log.exists() else ""
            message = f"step {number}/{len(todo)} ({title}) failed: {error}{where}"
            raise SetupError(message) from None
        print(f"      done in {time.monotonic() - step_began:.0f} s", flush=True)
    write_stamp(plan, key)
    print(f"set-up: done in {time.monotonic() - began:.0f} s. Next: make demo", flush=True)


def interrupted(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--profile", choices=("cpu", "gpu"), help="default: the last one, or what the machine has"
    )
    parser.add_argument(
        "--flash-attn",
        nargs="?",
        const=COMPILE,
        metavar="WHEEL",
        help="install flash-attn too (GPU set): this wheel, or compile it, which needs nvcc",
    )
    parser.add_argument("--no-flash-attn", dest="flash_attn", action="store_const", const="")
    return parser.parse_args()


def main() -> int:
    signal.signal(signal.SIGTERM, interrupted)
    try:
        use_newer_python()
        given = arguments()
        set_up(ROOT, given.profile, given.flash_attn)
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again to continue from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
