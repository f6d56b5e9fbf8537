"""``perl-rl view``: the pages that show what runs do (docs/view.md)."""

import argparse
from pathlib import Path

from perl_rl.cli.options import PORT, Commands, add_command, whole
from shared.errors import UserError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8770


def add_view(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add ``view``."""
    text = "show runs as local web pages: curves, groups, responses, tokens"
    view = add_command(commands, "view", _view, text)
    add = view.add_argument
    add(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folders of runs, and results of perl-rl eval (*.json)",
    )
    add("--host", default=DEFAULT_HOST, metavar="ADDRESS", help="address to listen on")
    add("--port", type=PORT, default=DEFAULT_PORT, metavar="N", help="port; 0 takes a free one")
    text = "environment variable that holds a token, which the pages then ask for"
    add("--token-env", metavar="VARIABLE", help=text)
    text = "write the pages to this new folder instead, to send to someone"
    add("--export", type=Path, metavar="DIR", help=text)
    text = "with --export: only the groups of this step (default: all steps)"
    add("--step", type=whole(1), metavar="N", help=text)
    text = "with --export: only the newest N groups of each run (default: 100)"
    add("--limit", type=whole(1), metavar="N", help=text)


def _view(options: argparse.Namespace) -> int:
    if options.export is None:
        for name in ("step", "limit"):
            if getattr(options, name) is not None:
                raise UserError(f"--{name}: says what --export writes; give --export DIR too")
        return _serve(options)
    from perl_rl.view.export import DEFAULT_LIMIT, export
    from perl_rl.view.index import Selection

    limit = DEFAULT_LIMIT if options.limit is None else options.limit
    return export(options.runs, options.export, Selection(options.step, limit))


def _serve(options: argparse.Namespace) -> int:
    from perl_rl.view.serve import serve
    from shared.config.endpoint import key_from_environment

    token = key_from_environment(options.token_env, "view")
    return serve(options.runs, options.host, options.port, token)
