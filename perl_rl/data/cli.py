"""The commands ``perl-rl data ...``. Each imports what it needs when it runs."""

import argparse
from pathlib import Path

from perl_rl.cli.options import Commands, add_command, add_set
from perl_rl.data.convert import add_convert

_STAGES = {
    "filter": "drop samples by rules: kind, images, length, source, duplicates",
    "rephrase": "let a language model turn open questions into letter questions",
    "difficulty": "measure pass rates by K rollouts of each question",
    "balance": "draw samples so that their pass rates have a target histogram",
    "label": "note what moving the images does to the answer",
}


def add_data_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add ``data`` with its actions."""
    text = "prepare training data"
    data = commands.add_parser("data", help=text, description=text)
    actions = data.add_subparsers(metavar="ACTION", required=True)
    add_convert(actions)
    _add_prepare(actions)
    for name, help_ in _STAGES.items():
        _add_stage(actions, name, help_)


def _add_prepare(actions: "Commands[argparse.ArgumentParser]") -> None:
    text = "run all stages of a configuration file; continues where it stopped"
    parser = add_command(actions, "prepare", _prepare, text)
    parser.add_argument("config", type=Path, metavar="FILE.yaml", help="see docs/prepare.md")
    _add_settings(parser)


def _add_stage(actions: "Commands[argparse.ArgumentParser]", name: str, text: str) -> None:
    parser = add_command(actions, name, _stage, f"{text}; continues where it stopped")
    parser.add_argument("file", type=Path, metavar="FILE.jsonl", help="samples")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for samples.jsonl and report.json",
    )
    parser.add_argument("--config", type=Path, metavar="FILE.yaml", help="settings, as for prepare")
    _add_settings(parser)
    parser.set_defaults(stage=name)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    add_set(parser, "override settings, e.g. difficulty.rollouts=4")


def _prepare(options: argparse.Namespace) -> int:
    from perl_rl.data.prepare import prepare

    return prepare(options.config, options.overrides)


def _stage(options: argparse.Namespace) -> int:
    from perl_rl.data.prepare import run_one

    return run_one(options.stage, options.file, options.out, options.config, options.overrides)
