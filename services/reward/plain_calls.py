"""Calls custom functions that may block, in threads that nobody has to wait for.

The threads of `asyncio.to_thread` would not do: there are few of them, so calls that never return
would stop all others, and the process could not end before they do.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from shared.errors import UserError

T = TypeVar("T")

_AT_ONCE = min(32, (os.cpu_count() or 1) + 4)
"""As many as `asyncio.to_thread` runs at the same time."""

MOST_LEFT = 500
"""Calls without an end that a node bears before it ends itself: each holds a thread."""


class CallTimeout(Exception):
    """A function did not return in time."""


class PlainCalls:
    """Calls of one function, each for a limited time.

    Args:
        name: of the function, for messages.
        timeout_s: for one call, from when it begins.
        setting: the key of that timeout.
    """

    def __init__(self, name: str, timeout_s: float, setting: str) -> None:
        self._name, self._timeout_s, self._setting = name, timeout_s, setting
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._left = 0

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """What `function` returns or raises.

        Raises:
            CallTimeout: when it takes too long; it may run on, and nobody waits for it.
            UserError: when so many calls have not ended that the node must.
        """
        async with self._places:
            outcome = self._begin(function, arguments)
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await asyncio.shield(outcome)
            except TimeoutError:
                if outcome.done():  # It raised this itself.
                    raise
                raise self._late() from None
            finally:
                if not outcome.done():
                    self._left += 1
                    outcome.add_done_callback(self._ended)

    def _begin(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if outcome.cancelled():
                return
            if error is None:
                outcome.set_result(result)  # type: ignore[arg-type]
            else:
                outcome.set_exception(error)

        def run() -> None:
            result, failure = None, None
            try:
                result = function(*arguments)
            except BaseException as error:  # Whatever it is, it is raised where it was called.
                failure = error
            with suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=run, daemon=True, name=self._name).start()
        return outcome

    def _late(self) -> Exception:
        late = f"{self._name} has not returned within {self._setting} ({self._timeout_s:g} s)"
        if self._left < MOST_LEFT:
            return CallTimeout(late)
        return UserError(
            f"{late}, nor have {self._left} calls before; let it give up where it waits"
        )

    def _ended(self, outcome: asyncio.Future[Any]) -> None:
        """A call that was given up has ended after all."""
        self._left -= 1
        if not outcome.cancelled():
            outcome.exception()  # Looked at, so that it is not logged as forgotten.
