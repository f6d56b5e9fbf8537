"""The trackers of a run that ``launch`` starts: each follows the run folder beside the run.

Nothing waits for them but the end of the run, for a time that their settings bound.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from perl_rl.ending import USER_ERROR_STATUS
from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.launch.restarts import Restarts
from perl_rl.trackers.choose import where
from perl_rl.trackers.left import left_to_send
from shared.config import Config

_PREFIX = "tracker-"
_GIVEN_UP = (1, USER_ERROR_STATUS)
"""Exit statuses of ``perl-rl track`` that gives up; it has tried again itself."""
_MARGIN_S = 5.0
"""Beyond a tracker's own time to finish, for its processes to end."""


class RunTrackers:
    """Starts and ends the trackers, and says what they could not send.

    Args:
        note: shows a line to people, and logs it.
    """

    def __init__(
        self, config: Config, config_file: Path, folder: Path, note: Callable[[str], None]
    ) -> None:
        self._trackers = config.trackers
        self._config_file = config_file
        self._folder = folder
        self._note = note
        self._restarts = Restarts(config.launcher.max_restarts, config.launcher.restart_window_s)
        self._exits: asyncio.Queue[Child] = asyncio.Queue()
        self._watch: asyncio.Task[None] | None = None

    def owns(self, name: str) -> bool:
        """Whether a child of this name is a tracker."""
        return name.startswith(_PREFIX)

    async def start(self, supervisor: Supervisor) -> None:
        """Start all of them."""
        for tracker in self._trackers:
            self._note(f"tracker {tracker.name}: {where(tracker, self._folder)}")
            await supervisor.start(self._program(tracker.name), self._exits)
        if self._trackers:
            self._watch = asyncio.create_task(self._restart(supervisor))

    async def finish(self, supervisor: Supervisor) -> None:
        """Let them send the rest, for as long as each may take; say what was not sent."""
        if self._watch is None:
            return
        self._watch.cancel()
        await asyncio.wait({self._watch})
        names = [name for name in supervisor.running() if self.owns(name)]
        if names:
            longest = max(one.finish_timeout_s for one in self._trackers)
            self._note(f"the trackers send the rest, for at most {longest:g} s")
            await supervisor.stop(names)
        for tracker in self._trackers:
            left = left_to_send(self._folder, tracker)
            if left:
                again = f"perl-rl track {self._folder} --tracker {tracker.name}"
                self._note(f"tracker {tracker.name}: not sent: {left}; {again} sends it")

    def _program(self, name: str) -> Program:
        settings = next(one for one in self._trackers if one.name == name)
        words = (sys.executable, "-m", "perl_rl", "track", str(self._folder), "--tracker", name)
        options = ("--config", str(self._config_file), "--until-stopped")
        patience_s = settings.finish_timeout_s + _MARGIN_S
        return Program(_PREFIX + name, (*words, *options), stop_timeout_s=patience_s)

    async def _restart(self, supervisor: Supervisor) -> None:
        """Start those again that were killed; the run goes on without those that give up."""
        while True:
            child = await self._exits.get()
            if child.status in _GIVEN_UP or not self._restarts.allowed(child.name):
                last = (child.last_lines(1) or ["its log is empty"])[0]
                self._note(f"{child.name} has ended, the run goes on without it: {last}")
                continue
            self._note(f"{child.name} ended with status {child.status}; starting it again")
            await supervisor.start(child.program, self._exits)
