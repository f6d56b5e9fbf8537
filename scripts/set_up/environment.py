"""Makes the virtual environment, or repairs the one that an interrupted set-up left."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .commands import logged, require_success
from .machine import START_TIMEOUT_S, base_python
from .plan import Plan, SetupError, read_stamp, write_stamp


def usable(plan: Plan) -> bool:
    """Whether the environment runs this Python and has pip."""
    program = "import sys, pip; print(sys.version)"
    try:
        answer = subprocess.run(
            [plan.python, "-c", program], capture_output=True, text=True, timeout=START_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.strip() == sys.version


def make_environment(plan: Plan) -> None:
    """Make the virtual environment, or repair the one of an earlier set-up.

    Raises:
        SetupError: when `.venv` is something else, which is left alone.
    """
    stamp = read_stamp(plan.root)
    if plan.venv.exists():
        if not (plan.venv / "pyvenv.cfg").exists() and not plan.log.exists():
            raise SetupError(f"{plan.venv} exists and is no virtual environment: move it away")
        if not usable(plan) or stamp.get("profile", plan.profile) != plan.profile:
            print("      the existing one is broken or of the other set: replacing it")
            shutil.rmtree(plan.venv)
    plan.venv.mkdir(exist_ok=True)
    if not plan.python.exists():
        require_success(logged(plan, [base_python(), "-m", "venv", plan.venv]))
    elif not stamp.get("key"):
        _forget_partial_packages(plan)
    write_stamp(plan, key=None)


def _forget_partial_packages(plan: Plan) -> None:
    """Make pip forget what it installed only in part, so that the later steps install it again."""
    for leftover in plan.site_packages.glob("~*"):  # what pip moved aside while it worked
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    for folder in broken_distributions(plan.site_packages):
        print(f"      {folder.name.removesuffix('.dist-info')} is incomplete: installing it again")
        shutil.rmtree(folder)


def broken_distributions(site_packages: Path) -> Iterator[Path]:
    """Metadata folders of packages installed in part: without a record, or with files missing."""
    for folder in sorted(site_packages.glob("*.dist-info")):
        record = folder / "RECORD"
        if not record.exists():
            yield folder
            continue
        with record.open(newline="") as file:
            named = [row[0] for row in csv.reader(file) if row and not row[0].endswith(".pyc")]
        if not all((site_packages / name).exists() for name in named):
            yield folder
