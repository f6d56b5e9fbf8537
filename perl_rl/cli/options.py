"""Options that several commands share."""

import argparse


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Take ``--debug`` behind the command's name, too."""
    # Without a default, so that it does not undo the one before the command's name.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )


def add_set(parser: argparse.ArgumentParser, text: str) -> None:
    """Take ``--set KEY=VALUE ...``, any number of times; `text` says what of."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help=text,
    )
