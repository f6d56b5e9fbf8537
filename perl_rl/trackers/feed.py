"""Hands a tracker what is new in the run folder, and remembers what it was given."""

import faulthandler
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perl_rl.trackers.base import TrackedRun, Tracker
from perl_rl.trackers.choose import is_online
from perl_rl.trackers.cursor import FOLDER, Cursor, save_cursor
from perl_rl.trackers.run_folder import (
    MetricsTail,
    evaluation_figures,
    figures_of,
    groups_to_show,
    recorded_until,
)
from shared.config import Config
from shared.config.secrets import without_secrets
from shared.config.trackers import TrackerConfig
from shared.errors import UserError
from shared.records.evaluations import evaluation_files
from shared.records.steps import METRICS

logger = logging.getLogger(__name__)

_BATCH = 100
"""Steps between two flushes, where many are new."""


class Feed:
    """Follows one run for one tracker. Call `poll` again and again, then `finish`.

    Args:
        make: a new tracker that has not started.
        cursor: how far the process before has come; changed as this one goes on.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Config,
        tracker: TrackerConfig,
        make: Callable[[], Tracker],
        cursor: Cursor,
        cursor_file: Path,
    ) -> None:
        self._run_dir = run_dir
        self._config = config
        self._settings = tracker
        self._make = make
        self._cursor = cursor
        self._cursor_file = cursor_file
        self._tail = MetricsTail(run_dir / METRICS)
        self._tracker: Tracker | None = None

    def poll(self, last: bool = False) -> None:
        """Send what is new.

        Args:
            last: the run is over: send what otherwise waits for what comes after it.
        """
        rows = None if self._tracker is None else self._tail.new()
        tracker, rows = (
            self._begin()
            if self._tracker is None or rows is None
            else (
                self._tracker,
                rows,
            )
        )
        for first in range(0, len(rows), _BATCH):
            self._send_steps(tracker, rows[first : first + _BATCH])
        self._send_evaluations(tracker)
        self._send_groups(tracker, last)
        if self._cursor.problem:
            self._cursor.problem = ""
            self._save()

    def finish(self) -> None:
        """End the tracker, which sends the rest."""
        if self._tracker is not None:
            with self._limited():
                self._tracker.finish()
            self._tracker = None

    def _begin(self) -> tuple[Tracker, list[dict[str, Any]]]:
        """Start the tracker, or start it anew when what it was given is lost; the lines to send."""
        self.finish()
        self._tail = MetricsTail(self._run_dir / METRICS)
        rows, cursor = self._tail.new() or [], self._cursor
        kept = cursor.surviving(rows)
        if kept < cursor.sent:
            logger.info(
                "steps %d to %d are lost: the run goes on from a checkpoint", kept + 1, cursor.sent
            )
            cursor.history += 1
            cursor.cut(kept)
            self._save()
        with self._limited():
            tracker = self._tracker = self._make()
            held = tracker.start(self._run())
        cursor.cut(held)
        for row in rows:
            # It was sent, but the process ended before it had noted so.
            if cursor.sent < row["step"] <= held:
                cursor.add(row.get("incarnation", 0), row["step"])
        self._save()
        logger.info("begins after step %d", cursor.sent)
        return tracker, [row for row in rows if row["step"] > cursor.sent]

    def _run(self) -> TrackedRun:
        folder = self._run_dir / FOLDER / self._settings.name
        folder.mkdir(parents=True, exist_ok=True)
        history, settings = self._cursor.history, self._settings
        return TrackedRun(
            name=self._config.run + (f" (history {history + 1})" if history else ""),
            id=f"{self._cursor.id}-{history}",
            folder=folder,
            project=settings.project,
            online=is_online(settings),
            url=settings.url,
            config=without_secrets(self._config)[0],
            page=settings.page or f"perl-rl view {self._run_dir}",
            sent=self._cursor.sent,
        )

    def _send_steps(self, tracker: Tracker, rows: list[dict[str, Any]]) -> None:
        wanted = [row for row in rows if row["step"] % self._settings.every_steps == 0]
        for row in wanted:
            with self._limited():
                tracker.log_step(row["step"], row["time"], figures_of(row))
        self._flush(tracker)
        for row in rows:
            self._cursor.add(row.get("incarnation", 0), row["step"])
        self._save()

    def _send_evaluations(self, tracker: Tracker) -> None:
        for step, file in evaluation_files(self._run_dir).items():
            # Not before the step's own figures, which say that its history is this one.
            if step in self._cursor.evaluations or step > self._cursor.sent:
                continue
            try:
                figures, time_s = evaluation_figures(file), file.stat().st_mtime
            except FileNotFoundError:
                continue  # Set aside meanwhile: the run goes on from an earlier step.
            with self._limited():
                tracker.log_evaluation(step, time_s, figures)
            self._flush(tracker)
            self._cursor.evaluations.append(step)
            self._save()

    def _send_groups(self, tracker: Tracker, last: bool) -> None:
        for step in self._steps_of_groups(last):
            try:
                groups = groups_to_show(
                    self._run_dir, step, self._settings.groups, self._settings.page
                )
            except UserError as error:
                logger.warning("no groups of step %d: %s", step, error)
                groups = []
            if groups:
                with self._limited():
                    tracker.log_groups(step, groups)
                self._flush(tracker)
            self._cursor.groups_step = step
            self._save()

    def _steps_of_groups(self, last: bool) -> Iterator[int]:
        every, sent, seen = (
            self._settings.groups_every_steps,
            self._cursor.sent,
            self._cursor.groups_step,
        )
        if not every:
            return
        # The groups of a step may settle, and be recorded, until those of a later one are.
        until = sent if last else min(sent, recorded_until(self._run_dir) - 1)
        due = set(range(seen - seen % every + every, until + 1, every))
        yield from sorted(due | {sent} if last and sent > seen else due)

    def _flush(self, tracker: Tracker) -> None:
        with self._limited():
            tracker.flush()

    def _save(self) -> None:
        save_cursor(self._cursor, self._cursor_file)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """End this process when the block does not end in time: nothing else ends a call that
        waits for ever."""
        limit_s = self._settings.call_timeout_s
        faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.stderr)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
