"""Ends a suite in time, or on Ctrl-C, and prints its table in any case."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self

from shared.reaper import end_descendants
from tests.faults.account import Account, Status

ENDING_S = 45.0
"""Reserved for ending the processes."""

_KILLING_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Bound:
    """Runs one suite within `seconds`, including the end of its processes.

    The suite limits its own work to the attribute `seconds`, which is shorter. If it gets stuck all
    the same, a thread prints the table, kills every process, calls `clear` and ends this process.
    """

    def __init__(self, seconds: float, account: Account, clear: Callable[[], None]) -> None:
        self.seconds = seconds - ENDING_S
        self._account = account
        self._clear = clear
        self._last = threading.Timer(seconds, self._give_up, (Status.UNFINISHED,))
        self._last.daemon = True
        self._signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._last.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._last.cancel()

    def run(self, suite: Coroutine[Any, Any, None]) -> int:
        """The suite's exit status; its table is printed, whatever it raises."""
        try:
            asyncio.run(self._until_signal(suite))
        finally:
            self._account.print_once()
        return self._account.status() if self._signal is None else 128 + self._signal

    async def _until_signal(self, suite: Coroutine[Any, Any, None]) -> None:
        work = asyncio.create_task(suite)
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            if self._signal is not None:
                self._give_up(128 + number)
            self._signal = number
            self._account.cut_short = f"{number.name} came"
            work.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, stop, number)
        await asyncio.wait({work})
        if not work.cancelled():
            work.result()

    def _give_up(self, status: int) -> None:
        self._account.cut_short = self._account.cut_short or "the end got stuck"
        self._account.print_once()
        sys.stdout.flush()
        killing = threading.Thread(target=end_descendants, args=(os.getpid(), 0.0), daemon=True)
        killing.start()
        # What is started again meanwhile is under a reaper, so it ends with this process.
        killing.join(_KILLING_S)
        self._clear()
        os._exit(status)
