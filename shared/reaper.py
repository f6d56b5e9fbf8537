"""A small process that runs a command and ends everything the command started.

It sets the command's cores and returns its exit status. When its own parent dies, even by
``kill -9``, it stops the command. Standard library only: it is run by path, so it starts fast.
"""

import argparse
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

PARENT_CHECK_S = 0.5
ORPHAN_GRACE_S = 3.0
"""Seconds between SIGTERM and SIGKILL for what a dead child leaves running: enough to free shared
memory."""

ENDED = ("Z", "X", "")
"""Kernel states of a process that has ended (a zombie), and "" for one that does not exist."""

_WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


def prctl(option: int, value: int) -> None:
    """Linux's ``prctl(2)`` with one argument."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def under_reaper(
    command: list[str], cores: frozenset[int] | None = None, grace_s: float = 30.0
) -> list[str]:
    """The command line that runs `command` under a reaper whose parent is this process.

    Args:
        command: program and arguments.
        cores: the cores it may use; None: all.
        grace_s: seconds between SIGTERM and SIGKILL.
    """
    words = [sys.executable, "-I", "-S", __file__, "--parent", str(os.getpid())]
    words += ["--grace", str(grace_s)]
    if cores is not None:
        words += ["--cores", ",".join(str(core) for core in sorted(cores))]
    return [*words, "--", *command]


def descendants(root: int) -> list[int]:
    """Process ids of everything below `root` that has not ended."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            parent, state = _parent_and_state(int(name))
            if state not in ENDED:
                children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def running(pid: int) -> bool:
    """Whether the process exists and has not ended; a zombie has ended."""
    return _parent_and_state(pid)[1] not in ENDED


def _parent_and_state(pid: int) -> tuple[int, str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The second field, the program's name in brackets, may contain anything.
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return 0, ""
    return int(parent), state


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end_descendants(root: int, grace_s: float, spare: frozenset[int] = frozenset()) -> None:
    """Send SIGTERM to all below `root` but `spare`, and SIGKILL to what is left after `grace_s`.

    The calling process must be a subreaper, so that processes whose parent dies stay below it.
    """
    kill_at = time.monotonic() + grace_s
    told: set[int] = set()
    while left := [pid for pid in descendants(root) if pid not in spare]:
        overdue = time.monotonic() > kill_at
        for pid in left:
            if overdue or pid not in told:
                send(pid, signal.SIGKILL if overdue else signal.SIGTERM)
                told.add(pid)
        time.sleep(0.02)


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        # If the reaper itself is killed, the child ends too.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    # The reaper has one thread, so code between fork and exec is safe.
    return subprocess.Popen(command, preexec_fn=prepare)


def _watch(child: "subprocess.Popen[bytes]", parent: int, grace_s: float) -> int:
    """Wait for the child; stop it on a signal or when the parent dies; a second signal kills it."""
    kill_at: float | None = None
    while (status := child.poll()) is None:
        received = signal.sigtimedwait(_WATCHED, PARENT_CHECK_S)
        told = received is not None and received.si_signo != signal.SIGCHLD
        if kill_at is None:
            if told or os.getppid() != parent:
                child.send_signal(signal.SIGTERM)
                kill_at = time.monotonic() + grace_s
        elif told or time.monotonic() > kill_at:
            child.kill()
    return status


def _reap() -> None:
    """Wait for ended orphans, so that the launcher gets no zombies."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    """Run the command in the arguments; returns its exit status (128 + number for a signal)."""
    parser = argparse.ArgumentParser(prog="reaper")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--cores")
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if options.cores:
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    try:
        child = _start(options.command)
    except OSError as error:
        print(f"cannot start {options.command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    status = _watch(child, options.parent, options.grace)
    end_descendants(os.getpid(), ORPHAN_GRACE_S)
    _reap()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
