"""The process of one tracker: ``python -m perl_rl.trackers.child``, as `supervise` starts it.

It ends with status 0 when the run is over and everything was sent, `FAILED` when the tracker
raised something, and 1 (`faulthandler`'s) when a call took too long. What follows from that is
decided by its parent.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from perl_rl.ending import ended
from perl_rl.trackers.base import Tracker
from perl_rl.trackers.choose import make_tracker, settings_of
from perl_rl.trackers.cursor import cursor_file, read_cursor, save_cursor
from perl_rl.trackers.feed import Feed
from perl_rl.trackers.run_folder import is_over
from shared.config import load_config
from shared.config.secrets import secret_words
from shared.errors import UserError
from shared.leaving import leave_at_once
from shared.logs import configure

logger = logging.getLogger(__name__)

FAILED = 75
"""Exit status when a tracker raised something; ``EX_TEMPFAIL``."""
TOOK_TOO_LONG = 1
"""Exit status with which `faulthandler` ends a process."""

_LOOK_EVERY_S = 1.0
_NICENESS = 10
"""Trackers run where the trainer leaves time."""
_SHOWN_CHARS = 300


class _Stop:
    """Whether the process was told to send the rest and end."""

    def __init__(self) -> None:
        self._told = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._told.set())

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is told; returns whether it was."""
        return self._told.wait(seconds)


def follow(feed: Feed, over: Callable[[], bool], stop: Callable[[float], bool]) -> None:
    """Send what is new until the run is over, or until `stop` says so.

    Args:
        stop: waits so many seconds, or less, and says whether to end.
    """
    parent = os.getppid()
    while not over():
        feed.poll()
        # Nobody would start it again, or end it, without its parent.
        if stop(_LOOK_EVERY_S) or os.getppid() != parent:
            break
    feed.poll(last=True)
    feed.finish()


def main(make: Callable[[str], Tracker] = make_tracker) -> int:
    """Follow the run that the arguments name; returns the exit status."""
    parser = argparse.ArgumentParser(prog="perl_rl.trackers.child")
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--until-stopped", action="store_true")
    ends.add_argument("--last", action="store_true", help="the run has ended: send what is left")
    options = parser.parse_args()
    os.nice(_NICENESS)
    stop = _Stop()
    config = load_config(options.config, options.overrides)
    settings = settings_of(config, options.name)
    configure(f"tracker {settings.name}", hidden=secret_words(config))
    file = cursor_file(options.run, settings.name)
    cursor = read_cursor(file)
    feed = Feed(options.run, config, settings, lambda: make(settings.name), cursor, file)

    def over() -> bool:
        return options.last or (not options.until_stopped and is_over(options.run))

    try:
        follow(feed, over, stop.wait)
    except Exception as error:  # What a tracker's library may raise is not defined.
        cursor.problem = in_one_line(error)
        logger.warning("%s", cursor.problem)
        logger.debug("%s", traceback.format_exc())
        save_cursor(cursor, file)
        return FAILED
    return 0


def in_one_line(error: BaseException) -> str:
    """An error of ours, or of a library, which may be long, in one line."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    words = " ".join(f"{kind}{error}".split())
    return words if len(words) <= _SHOWN_CHARS else f"{words[:_SHOWN_CHARS]} ..."


if __name__ == "__main__":
    # Libraries leave threads that would keep the process.
    status = ended(main)
    sys.stdout.flush()
    leave_at_once(status)
