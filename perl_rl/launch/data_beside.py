"""The data check beside the start of the engines, which load their libraries meanwhile.

Engines start when only the prompts are left to check: rows and pictures of a large data set may
take longer than an engine waits for its first weights (``rollout.start_timeout_s``).
"""

import asyncio
import threading
from pathlib import Path

from perl_rl.launch.check import check_data_shown
from perl_rl.report.progress import Progress
from shared.config import Config


class DataBeside:
    """The check of one run's data, in a thread. Use an instance once."""

    def __init__(self, config: Config, folder: Path, progress: Progress) -> None:
        self._config = config
        self._folder = folder
        self._progress = progress
        self._left = threading.Event()
        self.only_prompts_left = asyncio.Event()

    async def check(self) -> None:
        """Check all of it; when this is cancelled, the thread ends with the next thing it checks.

        Raises:
            UserError: naming file and row of the first sample that the run could not use.
        """
        loop = asyncio.get_running_loop()

        def pictures_done() -> None:
            loop.call_soon_threadsafe(self.only_prompts_left.set)

        try:
            await asyncio.to_thread(
                check_data_shown,
                self._config,
                self._folder,
                self._progress,
                pictures_done,
                self._left.is_set,
            )
        finally:
            self._left.set()
