"""What this machine has: its Python, GPU driver, compiler and disk."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from .plan import COMPILE, Plan, SetupError

MINIMUM_PYTHON = (3, 11)
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11")
FREE_DISK_GIB = {"cpu": 8, "gpu": 25}
NEEDED_DRIVER, NEEDED_CUDA = 580, 13
"""The NVIDIA driver that the GPU set's builds need, and the CUDA version that it brings."""
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


def driver_version() -> str | None:
    """The NVIDIA driver's version; None when none answers."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.split()
    return lines[0] if answer.returncode == 0 and lines else None


def driver_cuda() -> int | None:
    """The newest CUDA major version that the driver's library runs; None without that library.

    Asked of the library, and not concluded from the driver's version: NVIDIA's compatibility
    packages bring a newer library to an older driver.
    """
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    found = ctypes.c_int(0)
    return found.value // 1000 if library.cuDriverGetVersion(ctypes.byref(found)) == 0 else None


def needed_driver() -> str:
    """What to say where the driver is too old for the GPU set."""
    version = driver_version() or "unknown"
    return (
        f"NVIDIA driver {NEEDED_DRIVER} or newer (this is {version}): the GPU set is "
        f"built for CUDA {NEEDED_CUDA}; update the driver, or use --profile cpu"
    )


def nvcc() -> str | None:
    """The CUDA compiler that torch's extension builder would use."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    places = [f"{home}/bin/nvcc" for home in homes if home] + ["nvcc", "/usr/local/cuda/bin/nvcc"]
    return next((place for place in places if shutil.which(place)), None)


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
    if plan.profile == "gpu" and (driver_cuda() or NEEDED_CUDA) < NEEDED_CUDA:
        lacks.append(needed_driver())
    wheel = plan.flash_attn
    if wheel == COMPILE and nvcc() is None:
        lacks.append(
            "nvcc, to compile flash-attn: install the CUDA toolkit and set CUDA_HOME, or give a "
            "wheel: make setup FLASH_ATTN=/path/to/flash_attn.whl"
        )
    if wheel not in (None, COMPILE) and "://" not in wheel and not Path(wheel).is_file():
        lacks.append(f"the flash-attn wheel {wheel}: there is no such file")
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
