"""What a run is doing, or how it ended: from its Redis while it goes on, else from its folder."""

import asyncio
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redis.exceptions import RedisError

from perl_rl.folder_lock import is_held
from perl_rl.report.observe import RunView, look
from perl_rl.report.summary import DONE
from perl_rl.view.ended import Summary, read_summary
from perl_rl.view.settings import FILES
from shared.config import Config, load_config
from shared.errors import UserError
from shared.records.steps import METRICS, is_after
from shared.service.connection import connect
from shared.wire.keys import Keys

_PATIENCE_S = 2.0
"""How long the page waits for Redis before it shows what the folder says."""

_KEPT_S = 1.0
"""How long one look at Redis serves all who ask."""

_LOG_TAIL = 1 << 16
_LINES_SHOWN = 6
_WARNING = re.compile(r"^(\d\d:\d\d:\d\d) \S+ (WARNING|ERROR|CRITICAL) (.*)$")
_LAUNCHER = re.compile(r"^(\d\d:\d\d:\d\d) ((?:.* ended with |starting .* again ).*)$")


@dataclass(frozen=True)
class Ledger:
    """The account of groups: issued = trained + dropped + in flight."""

    issued: int
    trained: int
    dropped: Mapping[str, int]
    """By reason."""
    in_flight: int
    skipped: Mapping[str, int]
    """By side; not issued, so no part of the sum."""

    @property
    def balances(self) -> bool:
        """Whether the sum is right."""
        return self.issued == self.trained + sum(self.dropped.values()) + self.in_flight

    def parts(self) -> list[tuple[str, int]]:
        """The parts of the sum with their names, the dropped ones by reason, the largest first."""
        dropped = sorted(self.dropped.items(), key=lambda one: -one[1])
        return [("trained", self.trained), *dropped, ("in flight", self.in_flight)]


@dataclass(frozen=True)
class Node:
    """A rollout or reward node as it was last seen."""

    name: str
    kind: str
    state: str
    version: str | None
    behind: bool
    """Whether it does not have the current policy version."""
    working_on: int | None
    done: int
    tokens: int | None
    restarts: int | None = None


@dataclass(frozen=True)
class State:
    """A run at one moment."""

    live: bool
    """Whether it may go on changing."""
    word: str
    """``running``, ``done``, ``interrupted``, ``failed``, or ``starting`` in one word."""
    now: str
    """What it is doing, or how it ended, in a sentence."""
    version: str | None = None
    nodes: tuple[Node, ...] = ()
    lost: tuple[str, ...] = ()
    queued: Mapping[str, int] = field(default_factory=dict)
    ledger: Ledger | None = None
    on: str = ""
    """Number type and device of the ranks."""
    wall_s: float | None = None
    alarms: str = ""
    evaluation: str = ""


@dataclass(frozen=True)
class Warned:
    """One warning or error in a log."""

    log: str
    time: str
    level: str
    text: str


class StateReader:
    """Looks at one run; what was seen a moment ago is not asked again. Safe for several threads."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir
        self._lock = threading.Lock()
        self._seen: tuple[float, State] | None = None

    def read(self, step: int, steps: int | None) -> State:
        """The run's state.

        Args:
            step: the last one in ``metrics.jsonl``; 0 without one.
            steps: how many it will have; None when that is not known.
        """
        with self._lock:
            if self._seen is None or time.monotonic() - self._seen[0] > _KEPT_S:
                self._seen = (time.monotonic(), self._look(step, steps))
            return self._seen[1]

    def _look(self, step: int, steps: int | None) -> State:
        summary, held = read_summary(self._folder), is_held(self._folder)
        files = self._folder / "summary.json", self._folder / METRICS
        # An interrupted launch writes it before the trainer has written the step in hand.
        if summary and not held and (summary.outcome != DONE or is_after(*files)):
            return _ended(summary, step, steps)
        view = self._view()
        if view is not None:
            return _going_on(view)
        at = f"at step {step} of {steps}" if steps else f"at step {step}"
        if held:
            return State(True, "starting", f"starting or ending, {at}: its Redis does not answer")
        return State(
            False, "not running", f"not running, {at}: it wrote no summary, and no Redis answers"
        )

    def _view(self) -> RunView | None:
        file = next((f for f in map(self._folder.joinpath, FILES) if f.is_file()), None)
        if file is None:
            return None
        try:
            return asyncio.run(asyncio.wait_for(_view(load_config(file)), _PATIENCE_S))
        except (UserError, RedisError, OSError, TimeoutError):
            return None  # The page then says that Redis does not answer.


async def _view(config: Config) -> RunView | None:
    url = config.redis.url or os.environ.get("PERL_REDIS_URL")
    if url is None:
        return None
    client = await connect(url, _PATIENCE_S, ca_file=config.redis.ca_file)
    try:
        keys = Keys(config.run)
        return await look(client, keys) if await client.exists(keys.state) else None
    finally:
        await client.aclose()


def _going_on(view: RunView) -> State:
    trainer, counts = view.trainer, view.counts
    done = trainer.phase in ("done", "failed")
    return State(
        live=not done,
        word=trainer.phase if done else "running",
        now=view.waiting_for(),
        version=view.version,
        nodes=tuple(
            Node(
                node.name,
                node.kind,
                node.state,
                node.version,
                node.kind == "rollout" and node.version != view.version,
                node.working_on,
                node.done,
                node.tokens if node.kind == "rollout" else None,
            )
            for node in view.nodes
        ),
        lost=tuple(view.lost),
        queued=view.queued,
        ledger=Ledger(
            counts.issued, counts.trained, counts.dropped, counts.in_flight, counts.skipped
        ),
        on=" on ".join(filter(None, (trainer.dtype, trainer.device))),
        alarms=trainer.alarms,
        evaluation=trainer.evaluation,
    )


def _ended(summary: Summary, step: int, steps: int | None) -> State:
    outcome, groups = summary.outcome, summary.groups
    versions = [node.version for node in summary.nodes if node.version]
    at = f"{step} of {steps} steps" if steps else f"{step} steps"
    lasted = f" in {duration(summary.wall_s)}" if summary.wall_s else ""
    return State(
        live=False,
        word=outcome.partition(":")[0],
        now=f"{outcome}, {at}{lasted}" if outcome == DONE else f"{outcome}; {at}",
        version=max(versions, key=_in_numbers, default=None),
        nodes=tuple(
            Node(
                node.name,
                node.kind,
                "ended",
                node.version,
                False,
                None,
                node.done,
                node.tokens if node.kind == "rollout" else None,
                node.restarts,
            )
            for node in summary.nodes
        ),
        ledger=None
        if groups is None
        else Ledger(
            groups.issued, groups.trained, groups.dropped, groups.in_flight, groups.skipped
        ),
        on=" on ".join(filter(None, (summary.dtype, summary.device))),
        wall_s=summary.wall_s,
    )


def _in_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def last_warnings(run_dir: Path) -> list[Warned]:
    """The last warnings and errors in each of the run's logs, and services that died."""
    found: list[Warned] = []
    for log in sorted((run_dir / "logs").glob("*.log")):
        lines = [warned for line in _tail(log) if (warned := _warned(log.stem, line))]
        found += lines[-_LINES_SHOWN:]
    return found


def _warned(log: str, line: str) -> Warned | None:
    match = _WARNING.match(line)
    if match is not None:
        return Warned(log, match[1], match[2].lower(), match[3])
    match = _LAUNCHER.match(line) if log == "launcher" else None
    return None if match is None else Warned(log, match[1], "warning", match[2])


def _tail(log: Path) -> Sequence[str]:
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _LOG_TAIL))
            return stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ()  # Logs are beside the point of the page; it is shown without this one.


def duration(seconds: float) -> str:
    """A time in words: 48 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
