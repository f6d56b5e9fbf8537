"""What a measurement was made on, and how its figures are printed."""

import os
from pathlib import Path
from typing import Any

import psutil

Figures = dict[str, Any]


def machine() -> Figures:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((one.partition(":")[2].strip() for one in lines if "model name" in one), "?")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": psutil.virtual_memory().total / 1e9,
        "busy_percent": psutil.cpu_percent(1.0),
    }


def memory_folder() -> str | None:
    """A folder in memory where there is one, so that no disk is measured."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def say(stage: str, figures: Figures) -> None:
    """One line a stage."""
    parts = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )
    print(f"{stage:16} {', '.join(parts)}", flush=True)
