"""A tracker's process may fail, hang or be killed; it is started again, and given up at last."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from perl_rl.ending import RunFailed
from perl_rl.trackers.cursor import cursor_file, read_cursor
from perl_rl.trackers.left import left_to_send, tracker_lines
from perl_rl.trackers.supervise import Supervision
from shared.config.trackers import TrackerConfig
from tests.processes import children_with
from tests.tracked_run import WrittenRun
from tests.waiting import wait_until
from tests.written_tracker import seen

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


class Followed:
    """A run that a supervised `WrittenTracker` follows in a thread."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.run = WrittenRun(folder)
        self.folder = folder / "trackers" / "wandb"
        self.folder.mkdir(parents=True)
        self.stopped = threading.Event()
        self.failure: Exception | None = None
        self._settings = settings
        self._thread = threading.Thread(target=self._follow)

    def starts(self) -> "Followed":
        """Write the settings where its process reads them, and begin."""
        tracker = {"name": "wandb", "groups_every_steps": 0, **self._settings}
        self.settings = TrackerConfig.model_validate(tracker)
        command = [sys.executable, "-m", "tests.written_tracker", str(self.run.folder), "wandb"]
        config = self.run.folder / "config.yaml"
        command += ["--config", str(config), f"--set=trackers=[{self.settings.model_dump_json()}]"]
        log = self.run.folder / "tracker.log"
        self.supervision = Supervision(
            self.run.folder, self.settings, command, log, self.stopped, until_stopped=True
        )
        self._thread.start()
        return self

    def _follow(self) -> None:
        try:
            self.supervision.run()
        except Exception as error:
            self.failure = error

    def fault(self, what: str) -> None:
        (self.folder / "fault").write_text(what)

    def steps(self) -> list[int]:
        return [one["step"] for one in seen(self.folder, "step")]

    def wait_for(self, last: int) -> None:
        wait_until(lambda: self.steps()[-1:] == [last], f"step {last}", PATIENCE_S)

    def problem(self) -> str:
        return read_cursor(cursor_file(self.run.folder, "wandb")).problem

    def process(self) -> psutil.Process | None:
        """The tracker's process now."""
        return next(iter(children_with("tests.written_tracker")), None)

    def ends(self) -> float:
        """Stop; returns how many seconds that took."""
        began = time.monotonic()
        self.stopped.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return time.monotonic() - began


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for one in children_with("tests.written_tracker"):
        one.kill()


def test_a_tracker_that_is_killed_goes_on_and_gets_each_step_once(folder: Path) -> None:
    followed = Followed(folder)
    followed.run.steps(1, 3)
    followed.starts().wait_for(3)
    process = followed.process()
    assert process is not None
    process.kill()
    followed.run.steps(4, 5)
    followed.wait_for(5)
    followed.run.steps(6, 6)
    followed.ends()
    assert followed.failure is None
    assert followed.steps() == [1, 2, 3, 4, 5, 6]
    assert len(seen(followed.folder, "start")) == 2
    assert len(seen(followed.folder, "finish")) == 1


def test_one_that_raises_is_tried_again_and_its_problem_is_shown(folder: Path) -> None:
    followed = Followed(folder)
    followed.run.steps(1, 2)
    followed.fault("raise at 2")
    followed.starts()
    told = "ConnectionError: the server is away; tried again after 1 s"
    wait_until(lambda: followed.problem() == told, "the problem", PATIENCE_S)
    assert tracker_lines(folder) == [f"tracker  wandb  sent up to step 0; {told}"]
    followed.fault("none")
    followed.wait_for(2)
    wait_until(lambda: followed.problem() == "", "no problem", PATIENCE_S)
    followed.ends()
    assert followed.failure is None
    assert "WARNING ConnectionError: the server is away\n" in (folder / "tracker.log").read_text()


def test_one_that_never_works_is_given_up(folder: Path) -> None:
    followed = Followed(folder, max_failures=2)
    followed.run.steps(1, 4)
    followed.run.evaluation(2)
    followed.fault("raise")
    followed.starts()
    wait_until(lambda: followed.failure is not None, "giving up", PATIENCE_S)
    assert isinstance(followed.failure, RunFailed)
    assert str(followed.failure) == (
        "tracker wandb: ConnectionError: the server is away; given up after 2 failures in a row; "
        "not sent: steps 1 to 4 and 1 evaluation"
    )


def test_a_call_that_does_not_return_ends_its_process(folder: Path) -> None:
    followed = Followed(folder, call_timeout_s=1)
    followed.run.steps(1, 1)
    followed.fault("block")
    followed.starts()
    told = "a call did not return within 1 s"
    wait_until(lambda: followed.problem().startswith(told), "the problem", PATIENCE_S)
    followed.fault("none")
    followed.wait_for(1)
    followed.ends()
    assert followed.failure is None
    # Where it stood.
    assert "in log_step" in (folder / "tracker.log").read_text()


def test_the_end_of_a_run_waits_for_a_blocked_tracker_only_so_long(folder: Path) -> None:
    followed = Followed(folder, finish_timeout_s=2)
    followed.run.steps(1, 3)
    followed.starts().wait_for(3)
    followed.fault("block")
    followed.run.steps(4, 5)
    took_s = followed.ends()
    assert 2 <= took_s < 10
    assert "not sent within 2 s" in str(followed.failure)
    assert left_to_send(folder, followed.settings) == "steps 4 to 5"


def test_a_run_that_ends_at_once_is_sent_whole(folder: Path) -> None:
    followed = Followed(folder)
    followed.run.steps(1, 3)
    followed.run.evaluation(3)
    followed.stopped.set()
    followed.starts().ends()
    assert followed.failure is None
    assert followed.steps() == [1, 2, 3]
    assert left_to_send(folder, followed.settings) == ""
