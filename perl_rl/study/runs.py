"""Runs a study: each run is a ``perl-rl launch`` of its own, and a study that was interrupted goes
on where it stopped."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.report.summary import DONE
from perl_rl.study.spec import Study
from shared.errors import UserError
from shared.files import make_folder, write_atomically

_LOOK_EVERY_S = 5.0
_STOP_S = 180.0
"""A launcher that is told to stop lets its trainer write a checkpoint."""

Note = Callable[[str], None]
Failures = Mapping[tuple[str, int], str]
"""Why runs failed, by arm and seed."""
Ended = Callable[[Failures], object]


def run_folder(folder: Path, arm: str, seed: int) -> Path:
    """Where one run's files are."""
    return folder / "runs" / arm / f"seed-{seed}"


def check_settings(study: Study, folder: Path) -> None:
    """Check that the runs which the study's folder holds were started with its settings of now.

    Raises:
        UserError: naming the first that was not.
    """
    for arm, seed in study.runs():
        run, file = run_folder(folder, arm, seed), _settings_file(folder, arm, seed)
        if run.is_dir() and _text(file) != study.digest(arm, seed):
            raise UserError(
                f"{run}: was started with other settings than the study has now; move it away to "
                "run it again, or choose another --dir"
            )


def _settings_file(folder: Path, arm: str, seed: int) -> Path:
    """Holds `Study.digest` of the run beside it."""
    run = run_folder(folder, arm, seed)
    return run.with_name(f"{run.name}.settings")


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def is_done(run: Path) -> bool:
    """Whether the run in this folder has ended well."""
    return outcome_of(run) == DONE


def outcome_of(run: Path) -> str | None:
    """How the run in this folder ended, by its summary; None when it has none."""
    try:
        return str(json.loads((run / "summary.json").read_text(encoding="utf-8"))["outcome"])
    except (OSError, ValueError, KeyError):
        return None


class StudyRuns:
    """Runs what is left of a study, `Study.slots` at a time. A run that fails stops no other.

    Args:
        folder: the study's.
        known: arm and seed of runs whose results are kept, though their folders may be gone.
        note: says what happens.
        ended: called after each run, to write the results so far.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        known: Collection[tuple[str, int]],
        note: Note,
        ended: Ended,
    ) -> None:
        self._study = study
        self._folder = folder
        self._known = known
        self._note = note
        self._ended = ended
        self.failures: dict[tuple[str, int], str] = {}

    async def run(self) -> None:
        """Run everything that is not done; a SIGTERM stops it like Ctrl-C, and loses no run."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        waiting = [
            one for one in self._study.runs() if one not in self._known and not self._is_done(*one)
        ]
        total = len(self._study.runs())
        self._note(f"{total} runs, {total - len(waiting)} of them done already")
        began = {}
        async with Supervisor(self._folder / "logs", _STOP_S) as supervisor:
            while waiting or supervisor.running():
                while waiting and len(supervisor.running()) < self._study.slots:
                    arm, seed = waiting.pop(0)
                    started = await supervisor.start(self._program(arm, seed))
                    began[started.name] = (arm, seed, time.monotonic())
                    self._note(f"{arm}, seed {seed}: started (log: {started.log})")
                child = await supervisor.next_exit(_LOOK_EVERY_S)
                if child is not None:
                    arm, seed, since = began[child.name]
                    self._over(child, arm, seed, time.monotonic() - since, len(waiting))

    def _is_done(self, arm: str, seed: int) -> bool:
        return is_done(run_folder(self._folder, arm, seed))

    def _program(self, arm: str, seed: int) -> Program:
        run = run_folder(self._folder, arm, seed)
        make_folder(run.parent, "--dir")
        write_atomically(_settings_file(self._folder, arm, seed), self._study.digest(arm, seed))
        command = [*(sys.executable, "-m", "perl_rl", "launch"), str(self._study.config)]
        command += ["--run-dir", str(run)]
        if (run / "config.yaml").is_file():
            command.append("--resume")
        command += ["--set", *self._study.overrides(arm, seed, self._folder)]
        return Program(f"{arm}-seed-{seed}", tuple(command), stop_timeout_s=_STOP_S)

    def _over(self, child: Child, arm: str, seed: int, took_s: float, left: int) -> None:
        after = f"after {took_s / 60:.1f} min, {left} to start"
        if child.status == 0 and self._is_done(arm, seed):
            self._note(f"{arm}, seed {seed}: done {after}")
        else:
            why = child.user_error() if child.status else "it ended without a summary"
            self.failures[arm, seed] = why
            self._note(f"{arm}, seed {seed}: failed {after}: {why}")
        self._ended(self.failures)


def run_all(runs: StudyRuns) -> None:
    """`StudyRuns.run` to its end; KeyboardInterrupt when a signal stops it."""
    with suppress(asyncio.CancelledError):
        asyncio.run(runs.run())
        return
    raise KeyboardInterrupt
