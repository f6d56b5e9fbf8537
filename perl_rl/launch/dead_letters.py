"""Keeps a run's dead letters in its folder: the embedded Redis that holds them ends with it."""

import asyncio
import logging
from pathlib import Path

import redis.asyncio

from perl_rl.ending import RunFailed
from shared.errors import UserError
from shared.service.connection import OUTAGE, heeding_cancel
from shared.wire.dead_letters import commonest_reason, letters, write_letters
from shared.wire.keys import Keys

logger = logging.getLogger(__name__)

FILE = "dead_letters.jsonl"
"""In the run's folder; without dead letters there is none."""


async def keep_dead_letters(client: redis.asyncio.Redis, keys: Keys, folder: Path) -> str | None:
    """Write the run's dead letters to its folder; the commonest reason in words, None without any.

    A Redis that does not answer, or a full disk, is no reason to fail: the run is at its end.
    """
    try:
        found = await heeding_cancel(lambda: letters(client, keys))
        if found:
            await asyncio.to_thread(write_letters, folder / FILE, found)
    except (*OUTAGE, OSError) as error:
        logger.warning("the dead letters are not written to %s: %s", folder / FILE, error)
        return None
    if not found:
        return None
    return f"{commonest_reason(found)} (all: perl-rl dead-letters {folder})"


def add_cause(error: RunFailed | UserError, why: str | None) -> None:
    """End an error's last line with the commonest reason of the dead letters, if it lacks it."""
    if why is not None and " dead letters: " not in str(error):
        # Below a failure's first line stands the end of a log.
        between = "; " if isinstance(error, UserError) else "\n"
        error.args = (f"{error}{between}{why}",)
