"""Commands that run one service: ``rollout|reward|trainer serve``, and ``trainer join``."""

import argparse
from pathlib import Path

from perl_rl.cli.options import PORT, Commands, add_command, add_config, whole
from shared.errors import UserError

_SERVICES = {
    "rollout": "services.rollout.serve",
    "reward": "services.reward.serve",
    "trainer": "services.trainer.control.serve",
}
"""Kind of service to the module whose `serve` runs it."""

_RUN_DIR = {
    "rollout": "not used: a node keeps nothing",
    "reward": "folder that keeps the judge's verdicts (default: none, which keeps none)",
    "trainer": "folder for the run's files; needed",
}


def add_services(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add each kind of service with its actions."""
    for kind in _SERVICES:
        text = f"the {kind} service"
        parser = commands.add_parser(kind, help=text, description=text)
        actions = parser.add_subparsers(metavar="ACTION", required=True)
        serve = _add_serve(actions, kind)
        if kind == "trainer":
            serve.set_defaults(command=_serve_trainer)
            text = "number of this host (default: 0); 1 and up run what join runs"
            serve.add_argument("--host", type=whole(0), default=0, metavar="K", help=text)
            _add_join(actions)


def _add_serve(actions: "Commands[argparse.ArgumentParser]", kind: str) -> argparse.ArgumentParser:
    serve = add_command(actions, "serve", _serve, f"run one {kind} service until it is stopped")
    serve.set_defaults(kind=kind)
    add_config(serve)
    serve.add_argument("--name", help=f"name of this service (default: {kind}-<host>-<process>)")
    serve.add_argument("--port", type=PORT, help=f"HTTP port (default: {kind}.port)")
    serve.add_argument("--run-dir", type=Path, metavar="DIR", help=_RUN_DIR[kind])
    return serve


def _add_join(actions: "Commands[argparse.ArgumentParser]") -> None:
    text = "run the trainer's ranks of a worker host (see trainer.hosts)"
    join = add_command(actions, "join", _join, text)
    add_config(join)
    text = "folder of the run, which all hosts share; needed"
    join.add_argument("--run-dir", type=Path, metavar="DIR", help=text)
    text = "number of this host: 1, 2, ..."
    join.add_argument("--host", type=whole(0), required=True, metavar="K", help=text)
    join.add_argument("--port", type=PORT, help="HTTP port (default: trainer.port)")


def _serve_trainer(options: argparse.Namespace) -> int:
    """One command for every host: an orchestrator's pods differ in their number only."""
    return _serve(options) if options.host == 0 else _join(options)


def _join(options: argparse.Namespace) -> int:
    from services.trainer.hosts.join import join
    from shared.config import load_config
    from shared.config.secrets import secret_words
    from shared.logs import configure

    config = load_config(options.config, options.overrides)
    configure(f"trainer-host-{options.host}", options.debug, secret_words(config))
    return join(config, options.run_dir, options.host, options.port)


def _serve(options: argparse.Namespace) -> int:
    import importlib
    import os
    import socket

    from shared.config import load_config
    from shared.config.secrets import secret_words
    from shared.logs import configure

    config = load_config(options.config, options.overrides)
    if config.redis.url is None:
        raise UserError(f"{options.config}: the key 'redis.url' is missing; a service needs it")
    name = options.name or f"{options.kind}-{socket.gethostname()}-{os.getpid()}"
    configure(name, options.debug, secret_words(config))
    service = importlib.import_module(_SERVICES[options.kind])
    status: int = service.serve(config, name=name, run_dir=options.run_dir, port=options.port)
    return status
