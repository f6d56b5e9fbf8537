"""What this machine computes on: its device, and the number type that is fast there.

Imports no torch: whoever has imported it says whether torch sees CUDA.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.config import ModelConfig
from shared.errors import UserError

Dtype = Literal["bfloat16", "float32"]
Device = Literal["cuda", "cpu"]

_CPUINFO = Path("/proc/cpuinfo")

_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
"""Names in /proc/cpuinfo; the last one is Arm's."""
_DRIVER_TIMEOUT_S = 30.0
# The first driver that runs programs of a CUDA release (NVIDIA's table of minor version
# compatibility, https://docs.nvidia.com/deploy/cuda-compatibility).
_FIRST_DRIVERS = {"11": 450, "12": 525, "13": 580}


@dataclass(frozen=True)
class TorchFacts:
    """What the installed torch says of itself."""

    version: str
    cuda: str | None
    """The CUDA release it was built for; None for a CPU build."""
    sees_cuda: bool
    """Whether it can use a GPU here."""


def settled(model: ModelConfig, torch: TorchFacts) -> tuple[ModelConfig, str]:
    """`model` with the device and the number type that this machine decides, and a line that says
    so.

    Raises:
        UserError: as `choose_device`.
    """
    device = choose_device(model.device, torch, has_nvidia_gpu())
    dtype, why = choose_dtype(model.dtype, device, _CPUINFO.read_text(errors="replace"))
    line = f"computing in {dtype} ({why}) on {'the CPU' if device == 'cpu' else 'CUDA'}"
    return model.model_copy(update={"device": device, "dtype": dtype}), line


def processor() -> str:
    """This machine's processor in words, to be named with every time: its model, the cores that
    this process may use, and its bfloat16 instructions."""
    cpuinfo = _CPUINFO.read_text(errors="replace") if _CPUINFO.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    name = found[1] if found else "a processor without a name"
    instructions = bf16_instructions(cpuinfo) or "none"
    return f"{name}, {cores} {'core' if cores == 1 else 'cores'}, bf16 instructions: {instructions}"


def bf16_instructions(cpuinfo: str) -> str | None:
    """The name of the processor's bfloat16 instructions, from the text of /proc/cpuinfo."""
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    found = line.group(1).split() if line else []
    return next((name for name in _BF16_INSTRUCTIONS if name in found), None)


def choose_dtype(
    wanted: Literal["auto", "bfloat16", "float32"], device: Device, cpuinfo: str
) -> tuple[Dtype, str]:
    """The number type to compute in, and why; `cpuinfo` is the text of /proc/cpuinfo.

    Without its instructions a processor emulates bfloat16, ten times slower than float32.
    """
    if wanted != "auto":
        return wanted, "model.dtype"
    if device == "cuda":
        return "bfloat16", "auto: a GPU"
    name = bf16_instructions(cpuinfo)
    if name is None:
        return "float32", "auto: this processor has no bfloat16 instructions"
    return "bfloat16", f"auto: this processor has {name}"


def choose_device(wanted: Literal["auto", "cuda", "cpu"], torch: TorchFacts, gpu: bool) -> Device:
    """The device to compute on.

    Args:
        gpu: whether the machine has an NVIDIA GPU.

    Raises:
        UserError: when a GPU is asked for, or is there, and torch cannot use it.
    """
    if wanted == "cpu":
        return "cpu"
    if torch.sees_cuda:
        return "cuda"
    if gpu:
        raise UserError(
            f"model.device {wanted}: this machine has an NVIDIA GPU, but {why_no_cuda(torch)}; or "
            "set model.device: cpu"
        )
    if wanted == "cuda":
        raise UserError(
            "model.device cuda: this machine has no NVIDIA GPU that this process may use; use one "
            "that has, or set model.device: auto"
        )
    return "cpu"


def why_no_cuda(torch: TorchFacts) -> str:
    """Why torch does not see a GPU that is there, and the fix."""
    if torch.cuda is None:
        return (
            f"the installed torch {torch.version} is built for the CPU: run make setup "
            "SETUP_FLAGS='--profile gpu'"
        )
    first = _FIRST_DRIVERS.get(torch.cuda.partition(".")[0])
    needed = f"driver {first} or newer" if first else f"a driver for CUDA {torch.cuda}"
    found = _driver()
    there = f"driver {found} is installed" if found else "no driver answers"
    return (
        f"torch {torch.version} cannot use it: its CUDA {torch.cuda} needs {needed}, and {there}; "
        "update the driver"
    )


def hide_gpus(model: ModelConfig) -> None:
    """Take all GPUs from this process's children where the configuration says ``device: cpu``."""
    if model.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def has_nvidia_gpu() -> bool:
    """Whether there is an NVIDIA GPU that this process may use.

    ``CUDA_VISIBLE_DEVICES`` without a device takes them all away.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if any(re.fullmatch(r"nvidia\d+", file.name) for file in Path("/dev").glob("nvidia*")):
        return True
    return "GPU" in _nvidia_smi("-L")


def _driver() -> str:
    """The version of the NVIDIA driver; empty when none answers."""
    return _nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0]


def _nvidia_smi(*options: str) -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        answer = subprocess.run(
            ["nvidia-smi", *options],
            capture_output=True,
            text=True,
            timeout=_DRIVER_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
