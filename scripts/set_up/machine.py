"""What this machine has: its Python, GPU driver, compiler and disk."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from .plan import Plan, SetupError

MINIMUM_PYTHON = (3, 11)
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11")
FREE_DISK_GIB = {"cpu": 8, "gpu": 25}
DRIVER_TIMEOUT_S = 20.0  # nvidia-smi on a machine whose driver hangs
START_TIMEOUT_S = 300.0  # a Python that starts from a cold disk


def driver_answers() -> bool:
    """Whether an NVIDIA driver answers with at least one GPU."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "GPU" in answer.stdout


def compiler() -> str | None:
    """The C++ compiler that torch's extension builder would use."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]
    return next((name for name in names if shutil.which(name)), None)


def missing(plan: Plan) -> list[str]:
    """What this machine lacks for the set-up, each with how to get it; empty when it has it all."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    lacks = []
    if sys.platform != "linux":
        lacks.append(f"Linux (this is {platform.system()}): use a Linux machine or container")
    try:
        import ensurepip
        import venv
    except ImportError:
        lacks.append(
            f"Python {version}'s venv module: install it (Debian, Ubuntu: python{version}-venv)"
        )
    else:
        del ensurepip, venv
    if compiler() is None:
        lacks.append(
            "a C++ compiler: install one (Debian, Ubuntu: g++; Fedora: gcc-c++), or set CXX"
        )
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        lacks.append(
            f"the headers of Python {version}: install them (Debian, Ubuntu: python{version}-dev)"
        )
    needed = FREE_DISK_GIB[plan.profile]
    free_gib = shutil.disk_usage(plan.root).free / 2**30
    if not plan.venv.exists() and free_gib < needed:
        lacks.append(f"{needed} GiB of disk for {plan.venv} ({free_gib:.1f} are free): free some")
    return lacks


def use_newer_python() -> None:
    """When the Python that runs this is too old, start again with a newer one of this machine."""
    if sys.version_info >= MINIMUM_PYTHON:
        return
    newer = next((name for name in NEWER_PYTHONS if shutil.which(name) and _starts(name)), None)
    if newer is None:
        raise SetupError(
            f"missing: Python 3.11 or newer ({sys.executable} is {platform.python_version()}): "
            "install one, or name it: make setup PYTHON=/path/to/python3.11"
        )
    os.execvp(newer, [newer, *sys.argv])


def _starts(python: str) -> bool:
    """Whether the command is a Python that starts; a version manager's stub may not."""
    answer = subprocess.run([python, "-c", ""], capture_output=True, timeout=START_TIMEOUT_S)
    return answer.returncode == 0


def base_python() -> Path:
    """The Python that makes the environment: never one inside another environment."""
    if sys.prefix == sys.base_prefix:
        return Path(sys.executable)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Path(sys.base_prefix, "bin", name)
