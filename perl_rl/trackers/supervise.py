"""``perl-rl track``: keeps the process of one tracker alive until the run is over.

The process may fail, hang or be killed: it is started again, after a growing pause, and given up
after ``max_failures`` in a row. A failure is one that came before anything was sent.
"""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from perl_rl.ending import USER_ERROR_STATUS, RunFailed
from perl_rl.folder_lock import hold_folder
from perl_rl.trackers.child import FAILED, TOOK_TOO_LONG
from perl_rl.trackers.choose import check_trackers, settings_of, where
from perl_rl.trackers.cursor import FOLDER, Cursor, cursor_file, read_cursor, save_cursor
from perl_rl.trackers.left import left_to_send
from shared.config import Config, load_config
from shared.config.secrets import secret_words
from shared.config.trackers import TrackerConfig
from shared.errors import UserError
from shared.files import make_folder
from shared.logs import configure
from shared.named_folders import run_folder

logger = logging.getLogger(__name__)

_BUSY = "another process runs this tracker; end it first"
_LONGEST_PAUSE_S = 60.0
_LOOK_EVERY_S = 0.2
_END_S = 5.0
"""Longest time from SIGKILL to a process's end."""


class Supervision:
    """Runs one tracker's process again and again. Use an instance once.

    Args:
        command: what runs, as words.
        log: where its output is appended.
        stopped: set from outside when the run has ended: what is left is sent, and it ends.
        until_stopped: only that ends it.
    """

    def __init__(
        self,
        run_dir: Path,
        settings: TrackerConfig,
        command: Sequence[str],
        log: Path,
        stopped: threading.Event,
        until_stopped: bool = False,
    ) -> None:
        self._run_dir = run_dir
        self._settings = settings
        self._command = list(command)
        self._log = log
        self._stopped = stopped
        self._until_stopped = until_stopped
        self._file = cursor_file(run_dir, settings.name)
        self._give_up_at: float | None = None

    def run(self) -> None:
        """Return when everything was sent.

        Raises:
            RunFailed: when the tracker is given up, or the time after the run's end has passed.
            UserError: when its process refuses its settings.
        """
        failures, before = 0, read_cursor(self._file)
        while True:
            status = self._run_once()
            if status == 0:
                return
            if status == USER_ERROR_STATUS:
                raise UserError(f"{self._settings.name}: refused; see the end of {self._log}")
            if status == -signal.SIGTERM and self._stopped.is_set():
                # It was told to end before it could listen.
                continue
            after = read_cursor(self._file)
            failures = failures + 1 if after.came_as_far_as(before) else 1
            before = after
            problem = self._problem(status, after)
            if failures >= self._settings.max_failures:
                self._fail(f"{problem}; given up after {failures} failures in a row")
            if self._late():
                self._fail(f"{problem}; not sent within {self._settings.finish_timeout_s:g} s")
            pause_s = min(_LONGEST_PAUSE_S, 2.0 ** (failures - 1))
            self._note(f"{problem}; tried again after {pause_s:g} s")
            self._stopped.wait(pause_s)

    def _run_once(self) -> int:
        last = self._stopped.is_set()
        ends = ["--last"] if last else ["--until-stopped"] if self._until_stopped else []
        with self._log.open("ab") as output:
            process = subprocess.Popen(
                [*self._command, *ends],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            return self._wait(process, last)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(_END_S)

    def _wait(self, process: "subprocess.Popen[bytes]", told: bool) -> int:
        """Its exit status.

        Args:
            told: whether it knows that the run has ended.
        """
        while True:
            try:
                return process.wait(_LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                if self._stopped.is_set() and not told:
                    process.send_signal(signal.SIGTERM)
                    told = True
                if self._late():
                    process.kill()
                    return process.wait(_END_S)

    def _late(self) -> bool:
        """Whether the run has ended longer ago than anybody waits."""
        if not self._stopped.is_set():
            return False
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + self._settings.finish_timeout_s
        return time.monotonic() >= self._give_up_at

    def _problem(self, status: int, cursor: Cursor) -> str:
        if status == FAILED and cursor.problem:
            return cursor.problem
        if status == TOOK_TOO_LONG:
            return (
                f"a call did not return within {self._settings.call_timeout_s:g} s "
                f"(call_timeout_s); {self._log} shows where"
            )
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"its process ended with {how}; see {self._log}"

    def _note(self, problem: str) -> None:
        cursor = read_cursor(self._file)
        cursor.problem = problem
        save_cursor(cursor, self._file)
        logger.warning("%s", problem)

    def _fail(self, problem: str) -> None:
        self._note(problem)
        left = left_to_send(self._run_dir, self._settings)
        raise RunFailed(f"tracker {self._settings.name}: {problem}; not sent: {left or 'nothing'}")


def main(
    run_dir: Path,
    name: str | None,
    config_file: Path | None = None,
    overrides: Sequence[str] = (),
    until_stopped: bool = False,
) -> int:
    """Follow a run with one tracker; returns 0 when everything was sent. Call in the main thread.

    Args:
        name: which one; None: the only one that the configuration names.
        config_file: the run's configuration; default: ``config.yaml`` in its folder.
        until_stopped: go on until SIGTERM, also after the run's end.

    Raises:
        RunFailed: when the tracker is given up.
        UserError: for bad settings, a missing package, or a tracker that runs already.
    """
    if config_file is None:
        run_folder(run_dir)
    run_dir = run_dir.absolute()
    file = (config_file or run_dir / "config.yaml").absolute()
    if not file.is_file():
        raise UserError(
            f"{file}: there is no such file; name the folder of a run, or its configuration with "
            "--config"
        )
    config = load_config(file, list(overrides))
    settings = _choose(config, name, file)
    check_trackers([settings])
    hidden = secret_words(config)
    configure(f"tracker {settings.name}", hidden=hidden)
    make_folder(run_dir / FOLDER, "the folder")
    make_folder(run_dir / "logs", "the folder")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with hold_folder(run_dir / FOLDER / settings.name, _BUSY):
        logger.info("%s", where(settings, run_dir))
        command = _command(settings, run_dir, file, overrides)
        log = run_dir / "logs" / f"tracker-{settings.name}.log"
        Supervision(run_dir, settings, command, log, stopped, until_stopped).run()
    return 0


def _choose(config: Config, name: str | None, file: Path) -> TrackerConfig:
    if name is not None:
        return settings_of(config, name)
    if len(config.trackers) == 1:
        return config.trackers[0]
    named = ", ".join(one.name for one in config.trackers) or "none"
    raise UserError(f"{file}: trackers: names {named}; choose one with --tracker")


def _command(
    settings: TrackerConfig,
    run_dir: Path,
    file: Path,
    overrides: Sequence[str],
) -> list[str]:
    python = str(settings.python or sys.executable)
    command = [python, "-m", "perl_rl.trackers.child", str(run_dir), settings.name]
    return [*command, "--config", str(file), *(f"--set={one}" for one in overrides)]
