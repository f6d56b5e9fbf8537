"""Starting and ending processes from a task that may be cancelled at any moment.

A cancelled `asyncio.create_subprocess_exec` waits for the end of a process whose pipes it never
connected, and so for ever (https://github.com/python/cpython/issues/103847).
"""

import asyncio
import contextlib
import logging
import time
from typing import Any

logger = logging.getLogger(__name__)

_START_S = 30.0
"""Longest time that a cancelled start waits for the process it began; a fork takes milliseconds."""
_DEATH_S = 10.0
"""Longest time from SIGKILL to a process's end; more only if the kernel holds it."""


async def start_process(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """`asyncio.create_subprocess_exec`; when it is cancelled, the process is killed."""
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*command, **options))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _settle(starting)
        if starting.done() and not starting.cancelled() and starting.exception() is None:
            await kill(starting.result())
        raise


async def kill(process: asyncio.subprocess.Process) -> None:
    """End a process with SIGKILL and wait for its end; one that the kernel holds is left behind."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    waiting = asyncio.ensure_future(process.wait())
    done, _ = await asyncio.wait({waiting}, timeout=_DEATH_S)
    if not done:
        waiting.cancel()
        logger.error("process %d has not ended %g s after it was killed", process.pid, _DEATH_S)


async def _settle(task: "asyncio.Future[Any]") -> None:
    """Wait until `task` is done, through further cancellations, for at most `_START_S`."""
    end = time.monotonic() + _START_S
    while not task.done() and time.monotonic() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=end - time.monotonic())
