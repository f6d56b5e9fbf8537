"""Serves the pages until it is told to stop."""

import socket
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from perl_rl.view.app import create_app
from perl_rl.view.settings import FILES
from shared.config import load_config
from shared.service.serve import bind

_WHERE = "--host and --port"


def serve(
    runs: Sequence[Path],
    host: str,
    port: int,
    token: str | None,
    say: Callable[[str], None] = print,
) -> int:
    """Serve the pages of these runs; returns 0 when it is stopped.

    Args:
        port: 0 lets the system choose.
        token: None, when other machines reach the pages: that of the runs (``security.token``).
        say: prints the address.

    Raises:
        UserError: when a folder holds no run, or the port is taken.
    """
    if token is None and not _only_here(host):
        token = token_of(runs)
    app = create_app(runs, token, names=[host])
    listener = bind("view", host, port, _WHERE)
    say(f"view: {_address(host, listener.getsockname()[1])} (stop with Ctrl-C)")
    if token is None and not _only_here(host):
        print(
            f"view: warning: everyone who reaches {host} can read these runs; give --token-env",
            file=sys.stderr,
        )
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False)
    )
    server.run(sockets=[listener])
    return 0


def token_of(runs: Sequence[Path]) -> str | None:
    """The ``security.token`` of the first of these runs that has one; None without."""
    files = [run / name for run in runs for name in FILES if (run / name).is_file()]
    tokens = (load_config(file).security.token for file in files)
    return next((token for token in tokens if token is not None), None)


def _address(host: str, port: int) -> str:
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _only_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
