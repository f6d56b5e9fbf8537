"""What the commands share: how one is added, and the options that several take."""

import argparse
import difflib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from perl_rl.ending import USER_ERROR_STATUS, error_line

Command = Callable[[argparse.Namespace], int]
"""Runs with the parsed options; returns the exit status."""

Commands = argparse._SubParsersAction
"""Where commands are added: what `add_subparsers` returns."""


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes a whole number of at least `least` and at most `most`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, not '{text}'") from None
        if number < least or (most is not None and number > most):
            bounds = f"at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"must be {bounds}, not {text}")
        return number

    return read


def number(*, above: float | None = None, least: float | None = None) -> Callable[[str], float]:
    """The type of an option that takes a finite number above a bound, or of at least one."""

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, not '{text}'") from None
        if not math.isfinite(found):
            raise argparse.ArgumentTypeError(f"must be a finite number, not {text}")
        if above is not None and found <= above:
            raise argparse.ArgumentTypeError(f"must be more than {above:g}, not {text}")
        if least is not None and found < least:
            raise argparse.ArgumentTypeError(f"must be at least {least:g}, not {text}")
        return found

    return read


PORT = whole(0, 65_535)
"""The type of an option that takes a port; 0 lets the system choose."""


_CALLED_HERE = {
    **dict.fromkeys(("train", "fit", "run", "grpo", "start"), "perl-rl launch"),
    **dict.fromkeys(("merge", "merge_model", "model_merger"), "perl-rl export"),
    **dict.fromkeys(("evaluate", "val", "test", "benchmark"), "perl-rl eval"),
    **dict.fromkeys(("ui", "web", "dashboard"), "perl-rl view"),
    **dict.fromkeys(("validate", "lint"), "perl-rl check"),
    "upload": "perl-rl push",
}
"""Commands of other tools by name, and what does it here."""

_INVALID_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
"""What argparse says of a command that does not exist."""


class _Help(argparse.HelpFormatter):
    """Ends the help of an option with its default, where it says neither that nor "needed"."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if text is None or action.nargs == 0 or action.required or not action.option_strings:
            return text
        if "default:" in text or "needed" in text:
            return text
        unset = action.default is None or action.default == []
        return f"{text} (default: {'none' if unset else '%(default)s'})"


class Parser(argparse.ArgumentParser):
    """Reads a command line; says in one line what is wrong with it."""

    above: "Parser | None" = None
    """The one whose command this is; None for ``perl-rl`` itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but what a command does not know is an error of that command."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and self.above is not None:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """End with the line."""
        if wrong := _INVALID_CHOICE.search(message):
            names = re.findall(r"[\w-]+", wrong[2])
            near = difflib.get_close_matches(wrong[1], names, n=1)
            meant = self._elsewhere(wrong[1]) or (near[0] if near else "")
            message += f"; did you mean {meant}?" if meant else ""
        if message.startswith("unrecognized arguments"):
            message += self._where_it_goes(message)
        self.exit(USER_ERROR_STATUS, f"{error_line(f'{message}; see {self.prog} --help')}\n")

    def _elsewhere(self, name: str) -> str:
        """The whole command that a name means which is no command of this parser."""
        root: Parser = self
        while root.above is not None:
            root = root.above
        same = [path for path in _commands(root) if path.split()[-1] == name]
        return same[0] if same else _CALLED_HERE.get(name, "")

    def _where_it_goes(self, message: str) -> str:
        """The option that an argument without one probably belongs to."""
        if "=" in message:
            return "; settings follow --set, as --set trainer.steps=5"
        bare = not message.partition(": ")[2].startswith("-")
        for option in ("--run-dir", "--run"):
            if bare and option in self._option_string_actions:
                return f"; the folder of a run follows {option}"
        return ""


def set_above(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of each command, and of those below it, which one it belongs to."""
    for one in _below(parser):
        if isinstance(one, Parser) and isinstance(parser, Parser):
            one.above = parser
        set_above(one)


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """All commands of a parser, and those below them: ``perl-rl data``, ``perl-rl data filter``."""
    for one in _below(parser):
        yield one.prog
        yield from _commands(one)


def _below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


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
