"""How long each part of a run took to start, in a file beside the runs' folders: the next launch
says it while it waits for the same part."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from perl_rl.report.observe import RunView
from perl_rl.report.summary import write_json

logger = logging.getLogger(__name__)

FILE = ".start-times.json"

ALL = "everything"
PARTS = ("the engine", "the trainer")
"""What takes long: vLLM, and the ranks until their first weights are published."""


def last_start(folder: Path, run: str) -> dict[str, float]:
    """Seconds that the last launch of `run` took, by part; empty when nothing is known.

    Args:
        folder: the run's; the file lies in its parent.
    """
    try:
        known = json.loads((folder.parent / FILE).read_text(encoding="utf-8"))[run]
        return {name: float(known[name]) for name in (ALL, *PARTS)}
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # It is only a hint: a damaged file is as good as none.


def keep_start(folder: Path, run: str, seconds: Mapping[str, float]) -> None:
    """Remember them for `last_start`."""
    file = folder.parent / FILE
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        rounded = {name: round(lasted, 1) for name, lasted in seconds.items()}
        write_json(file, {**known, run: rounded})
    except (OSError, ValueError, TypeError) as error:
        logger.info("%s: not kept: %s", file, error)


class Starting:
    """The start of one launch, part by part. Engines and trainer start side by side."""

    def __init__(self, folder: Path, run: str, now: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._run, self._now = folder, run, now
        self.last = last_start(folder, run)
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}

    def begin(self, part: str) -> None:
        """A part is started now; of several engines the first counts."""
        self._began.setdefault(part, self._now())

    def see(self, view: RunView, rollout_nodes: int) -> bool:
        """Take in how far the run is; True once, when everything is up."""
        engines = [one for one in view.nodes if one.kind == "rollout"]
        there = {
            "the engine": sum(one.engine_up for one in engines) >= rollout_nodes,
            "the trainer": view.version is not None,
        }
        for part, began in self._began.items():
            if part not in self._took and there[part]:
                self._took[part] = self._now() - began
        ready = sum(one.state == "ready" for one in engines)
        if ALL in self._took or not all(there.values()) or ready < rollout_nodes:
            return False
        self._took[ALL] = self._now() - min(self._began.values())
        keep_start(self._folder, self._run, self._took)
        return True

    @property
    def took_s(self) -> float:
        """Seconds until everything was up."""
        return self._took[ALL]

    def doing(self) -> str:
        """What is being started, how long already, and how long it took last time; else empty."""
        return "; ".join(
            f"starting {part} for {self._now() - began:.0f} s{self._before(part)}"
            for part, began in self._began.items()
            if part not in self._took
        )

    def _before(self, part: str) -> str:
        return f" ({self.last[part]:.0f} s last time)" if part in self.last else ""
