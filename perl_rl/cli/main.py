"""The ``perl-rl`` command line; `perl_rl.ending` says how a command ends.

A command's imports run with the command, so that ``--help`` answers at once.
"""

import argparse
import os
import sys
from importlib.metadata import version

from perl_rl.cli.options import Command, Parser, set_above
from perl_rl.cli.run_commands import (
    add_dead_letters,
    add_demo,
    add_run_commands,
    add_show,
    add_status,
)
from perl_rl.cli.service_commands import add_services
from perl_rl.cli.tool_commands import add_tools
from perl_rl.cli.view import add_view
from perl_rl.data.cli import add_data_commands
from perl_rl.ending import ended
from perl_rl.eval.cli import add_eval
from shared.leaving import leave_at_once

_NO_BARS = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""tqdm and Hugging Face's libraries read these when they are imported, here or in a child process:
their progress bars would run through our lines."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Args:
        arguments: default: those of this process, which then ends at once: unloading torch and vLLM
            would take seconds, and vLLM's destructors would complain of modules that are gone.
    """
    for name, value in _NO_BARS.items():
        os.environ.setdefault(name, value)
    options = command_line().parse_args(arguments)
    status = _run(options)
    if arguments is None:
        leave_at_once(status)
    return status


def _run(options: argparse.Namespace) -> int:
    command: Command = options.command
    return ended(lambda: command(options), options.debug)


def command_line() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser: argparse.ArgumentParser = Parser(
        prog="perl-rl",
        description="PeRL: GRPO over several orders of the same images, as services.",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and debug logs")
    parser.add_argument("--version", action="version", version=f"perl-rl {version('perl-rl')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_run_commands(commands)
    add_services(commands)
    add_demo(commands)
    add_status(commands)
    add_show(commands)
    add_view(commands)
    add_dead_letters(commands)
    add_tools(commands)
    add_data_commands(commands)
    add_eval(commands)
    set_above(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
