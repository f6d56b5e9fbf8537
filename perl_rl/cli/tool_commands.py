"""Commands that need no run: doctor, score, permute; and study, which starts its own."""

import argparse
import sys
from pathlib import Path

from perl_rl.cli.options import Commands, add_command, add_set, whole


def add_tools(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add ``doctor``, ``score``, ``permute`` and ``study``."""
    add_command(commands, "doctor", _doctor, "show what this machine can run, and what is missing")
    _add_score(commands)
    text = "print samples in several orders of their images, with the answer of each order"
    permute = add_command(commands, "permute", _permute, text)
    permute.add_argument("file", type=Path, metavar="FILE.jsonl", help="samples")
    text = "orders of each sample, the original one included"
    permute.add_argument("--orders", type=whole(1), required=True, metavar="K", help=text)
    permute.add_argument(
        "--seed", type=whole(0), default=0, metavar="S", help="for the choice of orders"
    )
    text = "train several configurations over several seeds, and compare them with intervals"
    study = add_command(commands, "study", _study, text)
    study.add_argument("file", type=Path, metavar="STUDY.yaml", help="arms, seeds and budget")
    text = "folder for all of its runs and results (default: runs/study-<name>)"
    study.add_argument("--dir", type=Path, metavar="DIR", help=text)
    text = "run nothing; write the results of the runs that are done"
    study.add_argument("--report", action="store_true", help=text)


def _add_score(commands: "Commands[argparse.ArgumentParser]") -> None:
    text = "grade responses from a file, as the reward service does"
    score = add_command(commands, "score", _score, text)
    add = score.add_argument
    text = "one JSON object a line, with response, answer and kind"
    add("file", type=Path, metavar="FILE.jsonl", help=text)
    add(
        "--config",
        type=Path,
        metavar="CONFIG",
        help="grade with the settings of this YAML file (default: the settings' defaults)",
    )
    add_set(score, "change settings, e.g. reward.extraction=lenient")
    text = "address of a model that judges what the rules find wrong (no letter questions)"
    add("--judge", metavar="URL", help=text)
    add("--judge-model", metavar="NAME", help="the judge's name there; needed with --judge")
    add("--judge-key-env", metavar="VARIABLE", help="environment variable that holds its key")
    add("--judge-cache", type=Path, metavar="DIR", help="folder that keeps its verdicts")


def _doctor(options: argparse.Namespace) -> int:
    from perl_rl.cli.doctor import main as doctor

    return doctor()


def _score(options: argparse.Namespace) -> int:
    from perl_rl.cli.score import score_file, settings
    from shared.config.endpoint import key_from_environment

    how = settings(
        options.config,
        options.overrides,
        judge=options.judge,
        judge_model=options.judge_model,
        judge_key=key_from_environment(options.judge_key_env, "score"),
        judge_cache=options.judge_cache,
    )
    score_file(options.file, sys.stdout, how)
    return 0


def _permute(options: argparse.Namespace) -> int:
    from perl_rl.cli.permute import main as permute

    return permute(options.file, options.orders, options.seed)


def _study(options: argparse.Namespace) -> int:
    from perl_rl.study.main import main as study

    return study(options.file, options.dir, options.report)
