"""``perl-rl launch`` in its own process, for tests that watch a whole run from outside."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.waiting import wait_until

PATIENCE_S = 600.0
MARK = "PERL_TEST_MARK"

# Of `rollout.engine`: enough for a tiny model's short answers.
SMALL_ENGINE = {
    "max_model_len": 512,
    "max_num_seqs": 16,
    "enforce_eager": True,
    "kv_cache_gib": 0.25,
}


class Launch:
    """A launcher in its own process; a mark in the environment finds all of its processes."""

    def __init__(self, config_file: Path, folder: Path, *options: str) -> None:
        self.folder = folder
        self.output = folder.with_suffix(".out")
        self._mark = uuid.uuid4().hex
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "perl_rl", "launch", str(config_file)),
                    *("--run-dir", str(folder), *options),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {MARK: self._mark},
            )

    def until(self, condition: Callable[[], bool], what: str) -> None:
        def reached() -> bool:
            if condition():
                return True
            assert self._process.poll() is None, f"ended before {what}:\n{self.said()}"
            return False

        wait_until(reached, lambda: f"{what}:\n{self.said()}", PATIENCE_S)

    def end(self, number: signal.Signals | None = None) -> int:
        """Wait for the end, after a signal if one is given; returns the exit status."""
        if number is not None:
            self._process.send_signal(number)
        return self._process.wait(timeout=PATIENCE_S)

    def said(self) -> str:
        return self.output.read_text()

    def steps(self) -> int:
        file = self.folder / "metrics.jsonl"
        return file.read_text().count("\n") if file.exists() else 0

    def processes(self) -> list[psutil.Process]:
        """All running processes with the mark."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self._mark:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
        return found

    def service(self, name: str) -> psutil.Process:
        """The service itself, not its reaper."""
        for process in self.processes():
            words = process.cmdline()
            if name in words and "--parent" not in words:
                return process
        raise AssertionError(f"no process of {name}")

    def redis(self) -> psutil.Process:
        """The run's own server, found by its reaper: it overwrites its environment."""
        for reaper in self.processes():
            words = reaper.cmdline()
            if "--parent" in words and any(word.endswith("redis-server") for word in words):
                return reaper.children()[0]
        raise AssertionError("no process of Redis")

    def close(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
