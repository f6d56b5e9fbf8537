"""Works on the entries of one stream, several at a time, from the first read to the drain.

An entry stays with its worker for as long as the worker renews its claim. An entry whose attempt
failed is no longer renewed: it stays pending, and after a while a worker takes it over. Too many
attempts, and the service is told to give the entry up.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from shared.service.connection import Patience
from shared.together import first_error
from shared.wire.queues import Entry, WorkStream
from shared.wire.registry import NodeState

_PAUSE_S = 0.5
"""The longest wait for an entry, for room, or for the node to be ready."""

_RENEWALS_PER_LOSS = 3
"""A claim is renewed this often within the time after which it counts as abandoned."""


class WorkSettings(Protocol):
    """The settings of a service that bound its work on a stream."""

    @property
    def concurrent_tasks(self) -> int:
        """Entries in work at a time."""

    @property
    def max_attempts(self) -> int:
        """An entry handed out more often than this is given up."""

    @property
    def lost_after_s(self) -> float:
        """A claim that was not renewed for this long counts as abandoned."""


async def at_once() -> None:
    """The wait of a node that always takes work."""


class StreamWorker:
    """One node's work on one stream.

    Args:
        handle: works on an entry and finishes it. It bounds its own time. When it raises, the
            entry is left for another attempt.
        give_up: finishes an entry that failed too often; the second argument counts the failures.
        failed: told of an attempt that raised, inside the ``except`` block.
        fatal: an error of this kind in an attempt ends the worker.
        in_work: ids of the entries taken and not finished; the worker keeps it up to date.
        until_ready: returns when the node takes work.
        drain_timeout_s: how long the drain may take; what is not done by then is left to other
            nodes. None: the caller of `run` bounds it.
    """

    def __init__(
        self,
        stream: WorkStream,
        patient: Patience,
        settings: WorkSettings,
        *,
        handle: Callable[[Entry], Awaitable[None]],
        give_up: Callable[[Entry, int], Awaitable[None]],
        failed: Callable[[Entry, Exception], None],
        fatal: type[Exception],
        in_work: set[str],
        until_ready: Callable[[], Awaitable[None]] = at_once,
        drain_timeout_s: float | None = None,
    ) -> None:
        self._stream = stream
        self._patient = patient
        self._settings = settings
        self._handle = handle
        self._give_up = give_up
        self._failed = failed
        self._fatal = fatal
        self._in_work = in_work
        self._until_ready = until_ready
        self._drain_timeout_s = drain_timeout_s
        self._attempts: set[asyncio.Task[None]] = set()
        self.state: NodeState = "starting"
        """Of this work alone: a node may have more to wait for."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what is in hand.

        Raises:
            WaitTimeout: when Redis stays away longer than ``redis.timeout_s``.
            Exception: an error of kind `fatal` from an attempt.
        """
        await self._patient(self._stream.create)
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                taking = group.create_task(self._take_until(stop, group))
                self.state = "ready"
                await stop.wait()
                self.state = "draining"
                # A read under way may still bring entries. Redis may be away: wait no longer.
                await asyncio.wait({taking}, timeout=2 * _PAUSE_S)
                taking.cancel()
                await self._drain()
                renewing.cancel()
        except BaseExceptionGroup as several:
            raise first_error(several) from None

    async def _take_until(self, stop: asyncio.Event, group: asyncio.TaskGroup) -> None:
        while not stop.is_set():
            room = self._settings.concurrent_tasks - len(self._attempts)
            if room <= 0:
                await asyncio.wait(
                    self._attempts, timeout=_PAUSE_S, return_when=asyncio.FIRST_COMPLETED
                )
            elif await self._is_ready():
                await self._begin_some(group, room)

    async def _is_ready(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await self._until_ready()
                return True
        return False

    async def _begin_some(self, group: asyncio.TaskGroup, room: int) -> None:
        """Begin entries that another node has abandoned; where there are none, new ones.

        Of several, those of the oldest group come first.
        """
        lost_after_s = self._settings.lost_after_s
        abandoned = await self._patient(lambda: self._stream.take_over(lost_after_s, room))
        for entry in sorted(abandoned, key=_by_group):
            if entry.id not in self._in_work:
                self._begin(group, entry, again=True)
        if not abandoned:
            new = await self._patient(lambda: self._stream.read(room, _PAUSE_S))
            for entry in sorted(new, key=_by_group):
                self._begin(group, entry, again=False)

    def _begin(self, group: asyncio.TaskGroup, entry: Entry, again: bool) -> None:
        self._in_work.add(entry.id)
        attempt = group.create_task(self._attempt(entry, again))
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)

    async def _attempt(self, entry: Entry, again: bool) -> None:
        try:
            deliveries = await self._stream.deliveries(entry) if again else 1
            if deliveries > self._settings.max_attempts:
                await self._give_up(entry, deliveries - 1)
            else:
                await self._handle(entry)
        except self._fatal:
            raise
        except Exception as error:
            # Whatever it is: an entry that makes one node fail must not end every node in turn.
            self._failed(entry, error)
        finally:
            self._in_work.discard(entry.id)

    async def _renew(self) -> None:
        """Keep the claims on the entries in work until cancelled."""
        while True:
            await self._patient(lambda: self._stream.renew(sorted(self._in_work)))
            await asyncio.sleep(self._settings.lost_after_s / _RENEWALS_PER_LOSS)

    async def _drain(self) -> None:
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=self._drain_timeout_s)
        for attempt in self._attempts:
            attempt.cancel()


def _by_group(entry: Entry) -> tuple[str, int]:
    """Groups are numbered in the order of their issue."""
    return entry.group, entry.age_rank
