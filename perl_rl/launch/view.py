"""The pages of a run, served by a process of their own beside it (docs/view.md).

The run does not need them: it goes on when they end.
"""

import sys
from pathlib import Path

from perl_rl.cli.view import DEFAULT_PORT
from perl_rl.launch.processes import Program
from shared.config import Config
from shared.config.trackers import TrackerConfig
from shared.config.view import ViewConfig
from shared.errors import UserError
from shared.service.ports import free_port
from shared.service.serve import announced_url, bind

NAME = "view"
"""Of the process, and of its log."""

_TOKEN = "PERL_VIEW_TOKEN"
_NICENESS = "10"
"""Engines that start on the same cores go first."""


def view_port(view: ViewConfig) -> int:
    """The port that the pages will have."""
    if view.port:
        return view.port
    if view.port is None and _is_free(view.host, DEFAULT_PORT):
        return DEFAULT_PORT
    return free_port(view.host)


def view_address(config: Config) -> str:
    """Where the pages are, for a browser."""
    assert config.view.port is not None, "the launcher has chosen it"
    assert config.redis.url is not None, "the launcher fills it in"
    return announced_url(config.view.host, config.view.port, config.redis.url)


def with_pages(config: Config) -> tuple[TrackerConfig, ...]:
    """The run's trackers; those that name no address of its pages get the one served here."""
    if not config.view.enabled:
        return config.trackers
    page = f"{view_address(config).rstrip('/')}/runs/0"
    return tuple(
        one if one.page else one.model_copy(update={"page": page}) for one in config.trackers
    )


def view_program(config: Config, folder: Path) -> Program:
    """The process that serves the pages of the run in `folder`."""
    command = (
        *("nice", "-n", _NICENESS, sys.executable, "-m", "perl_rl", "view", str(folder)),
        *("--host", config.view.host, "--port", str(config.view.port)),
    )
    token = config.security.token
    if token is None:
        return Program(NAME, command)
    return Program(NAME, (*command, "--token-env", _TOKEN), {_TOKEN: token})


def _is_free(host: str, port: int) -> bool:
    try:
        bind(NAME, host, port).close()
    except UserError:
        return False
    return True
