"""A tracker that writes what it is given to a file, and fails as told: no library has these faults
at command. ``python -m tests.written_tracker`` is the process of a tracker with it.

The file ``fault`` in its folder says what it does at the next steps: ``raise``, ``block``, or
``raise at N``.
"""

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perl_rl.trackers.base import ShownGroup, TrackedRun
from perl_rl.trackers.child import main
from shared.leaving import leave_at_once


class WrittenTracker:
    """Remembers nothing itself: it trusts the cursor."""

    def start(self, run: TrackedRun) -> int:
        self._folder = run.folder
        self._write("start", run.sent, id=run.id, name=run.name)
        return run.sent

    def log_step(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        file = self._folder / "fault"
        fault = file.read_text() if file.exists() else ""
        if fault == "block":
            threading.Event().wait()
        if fault == "raise" or fault == f"raise at {step}":
            raise ConnectionError("the server is\naway")
        self._write("step", step, reward=figures["train/reward"])

    def log_evaluation(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        self._write("evaluation", step, accuracy=figures["heldout/accuracy"])

    def log_groups(self, step: int, groups: Sequence[ShownGroup]) -> None:
        self._write("groups", step, ids=[group.id for group in groups])

    def flush(self) -> None: ...

    def finish(self) -> None:
        self._write("finish", 0)

    def _write(self, what: str, step: int, **more: Any) -> None:
        with (self._folder / "seen.jsonl").open("a") as stream:
            stream.write(json.dumps({"what": what, "step": step, **more}) + "\n")


def seen(folder: Path, what: str | None = None) -> list[dict[str, Any]]:
    """What a tracker with this folder was given; of one kind, or all."""
    file = folder / "seen.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines]
    return [one for one in found if what in (None, one["what"])]


if __name__ == "__main__":
    status = main(lambda _: WrittenTracker())
    sys.stdout.flush()
    leave_at_once(status)
