"""What the commands share: how one is added, and the options that several take."""

import argparse
from collections.abc import Callable
from pathlib import Path

Command = Callable[[argparse.Namespace], int]
"""Runs with the parsed options; returns the exit status."""

Commands = argparse._SubParsersAction
"""Where commands are added: what `add_subparsers` returns."""


def add_command(
    commands: "Commands[argparse.ArgumentParser]", name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    """Add the command `name`, which runs `command`; `text` is its help. Returns its parser."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    add_debug(parser)
    return parser


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Accept ``--debug`` after the command's name too."""
    # Without a default, so that it does not undo the one before the command's name.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Take the run's YAML file, and ``--set`` for its keys."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the run's YAML file")
    add_set(parser)


def add_set(
    parser: argparse.ArgumentParser, text: str = "change settings, e.g. rollout.nodes=2"
) -> None:
    """Take ``--set KEY=VALUE ...``, any number of times; `text` is its help."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help=text,
    )
