"""Warns before a launch whose plan does not fit its GPUs."""

import subprocess
from collections.abc import Callable

from perl_rl.launch.division import Division
from perl_rl.plan.main import plan_of
from shared.config import Config

_DRIVER_TIMEOUT_S = 30.0


def warn_unless_it_fits(config: Config, division: Division, note: Callable[[str], None]) -> None:
    """Note what does not fit, where the run is on GPUs; it may still start, for a plan estimates.

    Raises:
        UserError: when the model's configuration cannot be read.
    """
    if not division.trainer.gpus:
        return
    gpu = smallest_gpu()
    if gpu is None:
        note("warning: nvidia-smi names no memory size: not compared with perl-rl plan")
        return
    plan, _ = plan_of(config, gpu, division.shares_gpus)
    for problem in plan.problems():
        note(f"warning: it may run out of GPU memory: {problem}")


def smallest_gpu() -> float | None:
    """Bytes of the smallest GPU; None when the driver names none."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_DRIVER_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    sizes = [int(line) for line in answer.stdout.split() if line.isdigit()]
    return min(sizes) * 2.0**20 if sizes else None
