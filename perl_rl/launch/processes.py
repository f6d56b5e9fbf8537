"""Child processes: each runs under a reaper and has a log, and none outlives its supervisor.

Each child leads its own session, so that Ctrl-C in the terminal reaches only this process, which
then stops the children.
"""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from perl_rl.ending import ERROR_PREFIX
from shared.reaper import (
    ORPHAN_GRACE_S,
    PR_SET_CHILD_SUBREAPER,
    descendants,
    end_descendants,
    prctl,
    under_reaper,
)

LINES_SHOWN = 20
"""How many of the last lines of a dead child's log to show."""

# Beyond its child's stop timeout, a reaper needs time for orphans and for its own exit.
_REAPER_MARGIN_S = ORPHAN_GRACE_S + 5.0


@dataclass(frozen=True)
class Program:
    """What to run."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    """Added to this process's environment."""
    cores: frozenset[int] | None = None
    stop_timeout_s: float = 0.0
    """Time between SIGTERM and SIGKILL, when it needs more than the supervisor gives the others."""


@dataclass
class Child:
    """One run of a program."""

    program: Program
    process: asyncio.subprocess.Process
    log: Path
    log_start: int
    """Size of the log when this run began."""
    exits: "asyncio.Queue[Child]"
    """Where its end is told."""
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def status(self) -> int | None:
        """Exit status; 128 + number when a signal ended it; None while it runs."""
        code = self.process.returncode
        return code if code is None or code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its reaper, if that still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def last_lines(self, count: int) -> list[str]:
        """The end of what this run wrote to its log, without empty lines."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - 65_536))
            lines = file.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]

    def ending(self, what: str) -> str:
        """How it ended and the last lines of its log; `what` names it."""
        status = self.status or 0
        how = f"signal {status - 128}" if status > 128 else f"status {status}"
        lines = [f"    {line}" for line in self.last_lines(LINES_SHOWN)]
        return "\n".join([f"{what} ended with {how}; the end of {self.log}:", *lines])

    def user_error(self) -> str:
        """The line with which its command refused its input, and where its log is."""
        lines = self.last_lines(LINES_SHOWN)
        refusals = [line for line in lines if line.startswith(ERROR_PREFIX)]
        line = (refusals or lines or ["its log is empty"])[-1].removeprefix(ERROR_PREFIX)
        return f"{self.name}: {line} (log: {self.log})"


class Supervisor:
    """Starts children, and ends them all when its block ends.

    Use it as an asynchronous context manager, in the main thread.
    """

    def __init__(self, logs: Path, stop_timeout_s: float) -> None:
        self._logs = logs
        self._stop_timeout_s = stop_timeout_s
        self._running: dict[str, Child] = {}
        self._stopping: list[Child] = []
        self._watchers: set[asyncio.Task[None]] = set()
        self._spare: frozenset[int] = frozenset()
        self.exits: asyncio.Queue[Child] = asyncio.Queue()
        """Children that have ended without `stop`."""

    async def __aenter__(self) -> "Supervisor":
        self._spare = frozenset(descendants(os.getpid()))
        # If a reaper is killed, its processes become our children, so that we can end them.
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(list(self._running))
        await asyncio.to_thread(end_descendants, os.getpid(), 0.0, self._spare)

    async def start(self, program: Program, exits: "asyncio.Queue[Child] | None" = None) -> Child:
        """Start a program; its output is appended to ``<logs>/<name>.log``.

        Args:
            exits: where its end is told, for one that is no part of the others' work; default:
                `exits`.
        """
        log = self._logs / f"{program.name}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *under_reaper(list(program.command), program.cores, self._patience(program)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | program.environment,
                start_new_session=True,
            )
            child = Child(
                program, process, log, output.tell(), self.exits if exits is None else exits
            )
        self._running[child.name] = child
        watcher = asyncio.create_task(self._watch(child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return child

    def running(self) -> list[str]:
        """Names of the children that have not ended."""
        return list(self._running)

    async def next_exit(self, timeout_s: float) -> Child | None:
        """The next child that ends without `stop`; None after `timeout_s`."""
        try:
            return await asyncio.wait_for(self.exits.get(), timeout_s)
        except TimeoutError:
            return None

    async def stop(self, names: list[str]) -> None:
        """End these children: SIGTERM, then SIGKILL after the stop timeout."""
        children = [self._running.pop(name) for name in names if name in self._running]
        if not children:
            return
        self._stopping += children
        for child in children:
            child.signal(signal.SIGTERM)
        exits = [asyncio.ensure_future(child.process.wait()) for child in children]
        patience = max(self._patience(child.program) for child in children)
        await asyncio.wait(exits, timeout=patience + _REAPER_MARGIN_S)
        for child in children:
            child.signal(signal.SIGKILL)
        await asyncio.wait(exits, timeout=_REAPER_MARGIN_S)

    def _patience(self, program: Program) -> float:
        return max(self._stop_timeout_s, program.stop_timeout_s)

    def hurry(self) -> None:
        """Kill the children that are being stopped: a second SIGTERM makes their reapers do so."""
        for child in self._stopping:
            child.signal(signal.SIGTERM)

    async def _watch(self, child: Child) -> None:
        await child.process.wait()
        if self._running.get(child.name) is child:
            del self._running[child.name]
            child.exits.put_nowait(child)
