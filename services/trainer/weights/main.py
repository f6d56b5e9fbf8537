"""The weight server's process. Its listening socket is its standard input: the control plane opens
the port once, and a server that is started again serves on the same one."""

import argparse
import asyncio
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from services.trainer.weights.app import create_app
from shared import logs
from shared.config import Config, load_config
from shared.config.secrets import secret_words

_END_S = 2.0
"""Seconds for answers that are under way when the server is told to end."""


async def serve(config: Config, folder: Path, listener: socket.socket) -> None:
    """Serve the versions in `folder` until SIGTERM."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(create_app(folder, config), access_log=None, shutdown_timeout=_END_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> int:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    config = load_config(options.config)
    logs.configure("trainer-weights", hidden=secret_words(config))
    asyncio.run(serve(config, options.folder, socket.socket(fileno=sys.stdin.fileno())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
