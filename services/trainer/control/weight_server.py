"""Keeps the weight server running beside the control plane."""

import asyncio
import logging
import socket
import sys
from pathlib import Path

from shared.reaper import under_reaper
from shared.subprocesses import kill, start_process

logger = logging.getLogger(__name__)

_END_S = 5.0
_PAUSE_S = 1.0
"""Between two starts, so that a server that cannot run does not fill the log."""


async def keep_serving(listener: socket.socket, config_file: Path, folder: Path) -> None:
    """Run the weight server on `listener` until cancelled; one that dies is started again.

    Connections that come meanwhile wait in the listener's queue.

    Args:
        folder: with one subfolder for each published version.
    """
    command = (sys.executable, "-m", "services.trainer.weights.main")
    options = ("--config", str(config_file), "--folder", str(folder))
    words = under_reaper([*command, *options], grace_s=_END_S / 2)
    while True:
        process = await start_process(*words, stdin=listener)
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _END_S)
            except TimeoutError:
                await kill(process)
            raise
        logger.error("the weight server ended with status %d; it is started again", status)
        await asyncio.sleep(_PAUSE_S)
