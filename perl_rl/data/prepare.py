"""Runs one stage in its own folder, or all stages of a configuration in turn.

The folder of ``prepare``::

    filter/ rephrase/ difficulty/ balance/ label/   each with samples.jsonl, report.json,
                                                    journal.jsonl and, when finished, stamp.json
    cache/                                          the endpoints' answers
    train.jsonl  images/  report.json               the result
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from perl_rl.data import balance, difficulty, filter, label, rephrase
from perl_rl.data.config import PrepareConfig, StageName
from perl_rl.data.files import load, save, save_with_images
from perl_rl.data.owner import PREPARE, REPORT_FILE, check_input, check_owner
from perl_rl.data.report import StageReport, print_report, refuse_nothing_left
from perl_rl.data.stage import Stage, run_stage
from perl_rl.folder_lock import hold_folder
from shared.config.load import apply_override, read_settings
from shared.errors import UserError
from shared.files import make_folder, write_atomically
from shared.problems import first_problem
from shared.words import amount
from shared.yaml_files import meant_for

RESULT_FILE = "train.jsonl"

_STAGES: dict[StageName, Stage] = {
    "filter": filter.run,
    "rephrase": rephrase.run,
    "difficulty": difficulty.run,
    "balance": balance.run,
    "label": label.run,
}


def prepare(file: Path, overrides: Sequence[str]) -> int:
    """Run all stages of a configuration file; returns the exit status.

    Raises:
        UserError: when a stage cannot continue; the same command continues where it stopped.
    """
    config = _checked(read_settings(file, list(overrides)), file)
    folder = file.parent.resolve()
    config = config.model_copy(
        update={"input": folder / config.input, "work": folder / config.work}
    )
    console = Console()
    check_owner(config.work, PREPARE, "work")
    samples, reports = load(config.input), list[StageReport]()
    with hold_folder(config.work):
        for name in config.stages:
            samples, report = run_stage(name, _STAGES[name], samples, config, config.work / name)
            reports.append(report)
            print_report(report, console)
            refuse_nothing_left(report)
        write = save_with_images if config.images == "copy" else save
        write(samples, config.work / RESULT_FILE)
        rows = [report.model_dump() for report in reports]
        write_atomically(config.work / REPORT_FILE, json.dumps(rows, indent=1) + "\n")
    console.print(f"{amount(len(samples), 'sample')}: {config.work / RESULT_FILE}", soft_wrap=True)
    return 0


def run_one(
    name: StageName, file: Path, out: Path, config_file: Path | None, overrides: Sequence[str]
) -> int:
    """Run one stage on `file`, in the folder `out`; returns the exit status.

    Raises:
        UserError: when the stage cannot continue; the same command continues where it stopped. Or
            when `out` is another stage's, or no sample is left.
    """
    raw: dict[str, Any] = {}
    if config_file is not None:
        raw = read_settings(config_file)
    for override in overrides:
        apply_override(raw, override)
    # The command line decides these two, so that the file may be one for `prepare`.
    raw |= {"input": str(file.resolve()), "work": str(out.resolve())}
    config = _checked(raw, config_file or Path("--set"))
    console = Console()
    check_owner(out, name, "--out")
    check_input(file, out)
    taken = load(file)
    make_folder(out, "--out")
    with hold_folder(config.work):
        samples, report = run_stage(name, _STAGES[name], taken, config, config.work)
    print_report(report, console)
    refuse_nothing_left(report)
    console.print(f"{amount(len(samples), 'sample')}: {out}/samples.jsonl", soft_wrap=True)
    return 0


def _checked(raw: dict[str, Any], file: Path) -> PrepareConfig:
    try:
        return PrepareConfig.model_validate(raw)
    except ValidationError as error:
        words = first_problem(error, PrepareConfig, "docs/prepare.md")
        raise UserError(f"{file}: {meant_for(raw, 'prepare') or words}") from None
