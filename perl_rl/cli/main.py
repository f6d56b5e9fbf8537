"""The ``perl-rl`` command line.

Exit status: 0 done, 1 failed, 2 bad input or environment (one line says what, and what to do),
130 interrupted. A command's imports run with the command, so that ``--help`` answers at once.
"""

import argparse
import errno
import sys
from importlib.metadata import version

from perl_rl.cli.options import Command
from perl_rl.cli.run_commands import add_dead_letters, add_demo, add_run_commands, add_status
from perl_rl.cli.service_commands import add_services
from perl_rl.cli.tool_commands import add_tools
from perl_rl.data.cli import add_data_commands
from perl_rl.eval.cli import add_eval
from shared.errors import UserError
from shared.leaving import leave_at_once

_PLACES = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS),
    *(errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG),
}
"""What is wrong with a place in the file system, rather than with the program."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Args:
        arguments: default: those of this process, which then ends at once: unloading torch and vLLM
            would take seconds, and vLLM's destructors would complain of modules that are gone.
    """
    status = _run(_parser().parse_args(arguments))
    if arguments is None:
        leave_at_once(status)
    return status


def _run(options: argparse.Namespace) -> int:
    command: Command = options.command
    try:
        return command(options)
    except UserError as error:
        if options.debug:
            raise
        print(f"perl-rl: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output has left (``perl-rl permute ... | head``).
        sys.stderr.close()
        return 1
    except OSError as error:
        # A file or folder that a person has named; anything else has no name.
        if options.debug or error.filename is None or error.errno not in _PLACES:
            raise
        print(f"perl-rl: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if options.debug:
            raise
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
    add_dead_letters(commands)
    add_tools(commands)
    add_data_commands(commands)
    add_eval(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
