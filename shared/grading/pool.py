"""A pool of grader processes: each grades one answer at a time, within limits of time and memory.

An answer that takes too long or crashes its process is wrong, and the process is replaced.
Processes start when they are first needed.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Literal

from shared.config import RewardConfig
from shared.errors import UserError, WaitTimeout
from shared.grading.frames import LENGTH, frame
from shared.subprocesses import kill, start_process
from shared.together import together

logger = logging.getLogger(__name__)

Outcome = Literal["equal", "different", "timeout", "crashed"]

# The environment variables that a grader gets; none of them is secret.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_MAX_STDERR = 4_000
_LAST_WORDS_S = 10.0
"""Longest time in which a process that has closed its output says why."""


class GraderPool:
    """``reward.workers`` processes; use it as an asynchronous context manager."""

    def __init__(
        self, config: RewardConfig, observe: Callable[[Outcome], None] = lambda outcome: None
    ) -> None:
        self._config = config
        self._observe = observe
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        self._all = [_Worker(config) for _ in range(config.workers)]
        for worker in self._all:
            self._idle.put_nowait(worker)

    async def __aenter__(self) -> "GraderPool":
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._all:
            await worker.stop()

    async def start(self) -> None:
        """Start all processes now.

        Raises:
            UserError: when a process does not start.
        """
        await together(worker.start() for worker in self._all)

    def process_ids(self) -> list[int]:
        """Ids of the running processes."""
        return [worker.pid for worker in self._all if worker.pid is not None]

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        """Whether both sides of every pair of expressions are equal.

        A pair that cannot be decided within ``reward.grade_timeout_s`` and
        ``reward.grade_memory_mib`` is not equal.

        Raises:
            UserError: when no grader process can be started.
        """
        worker = await self._idle.get()
        try:
            outcome = await worker.ask(pairs)
        finally:
            self._idle.put_nowait(worker)
        self._observe(outcome)
        return outcome == "equal"


class _Worker:
    """One process, restarted after each death."""

    def __init__(self, config: RewardConfig) -> None:
        self._config = config
        self._process: asyncio.subprocess.Process | None = None
        self._warned = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def ask(self, pairs: list[tuple[str, str]]) -> Outcome:
        await self.start()
        assert self._process is not None
        answered = False
        try:
            async with asyncio.timeout(self._config.grade_timeout_s):
                answer = await _exchange(self._process, {"pairs": pairs})
            answered = True
        except TimeoutError:
            return "timeout"
        except (asyncio.IncompleteReadError, ConnectionError):
            return "crashed"
        finally:
            # Also after a cancellation: the next question would read the answer to this one.
            if not answered:
                await self.stop()
        return "equal" if answer["equal"] else "different"

    async def start(self) -> None:
        if self._process is not None:
            return
        config = self._config
        self._process = process = await start_process(
            *(sys.executable, "-m", "shared.grading.math_worker"),
            *("--memory-mib", str(config.grade_memory_mib)),
            *("--timeout-s", str(config.grade_timeout_s)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        ready = False
        try:
            async with asyncio.timeout(config.grader_start_timeout_s):
                greeting = await _read(process)
            ready = True
            if greeting["network"] and not self._warned:
                self._warned = True
                logger.warning(
                    "this kernel forbids user namespaces, so graders keep their network access; "
                    "run the reward service where it can reach only Redis"
                )
        except TimeoutError:
            raise WaitTimeout(
                "reward",
                "a grader process to start",
                config.grader_start_timeout_s,
                "reward.grader_start_timeout_s",
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise UserError(
                f"reward: a grader process ended while it started: {await _why(process)}"
            ) from None
        finally:
            if not ready:
                await self.stop()

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await kill(process)


async def _exchange(
    process: asyncio.subprocess.Process, question: dict[str, Any]
) -> dict[str, bool]:
    assert process.stdin is not None
    process.stdin.write(frame(question))
    await process.stdin.drain()
    return await _read(process)


async def _read(process: asyncio.subprocess.Process) -> dict[str, bool]:
    assert process.stdout is not None
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    return json.loads(await process.stdout.readexactly(length))


async def _why(process: asyncio.subprocess.Process) -> str:
    """The last line that a process wrote before it closed its output."""
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            text = (await process.stderr.read(_MAX_STDERR)).decode(errors="replace").strip()
            return text.splitlines()[-1] if text else f"exit status {await process.wait()}"
    except TimeoutError:
        return "it closed its output without a message"
