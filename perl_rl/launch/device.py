"""Chooses a run's device and number type before anything starts, without torch in this process."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from shared.config import ModelConfig
from shared.errors import UserError
from shared.machine import TorchFacts, has_nvidia_gpu, settled

_PROBE_TIMEOUT_S = 120.0
"""For one import of torch on a busy machine with a cold disk."""


def settled_model(model: ModelConfig) -> tuple[ModelConfig, str]:
    """`model` with device and number type chosen, and a line that says which.

    Raises:
        UserError: when a GPU is asked for, or is there, and torch cannot use it.
    """
    return settled(model, _torch() if has_nvidia_gpu() else _without_gpus())


def _without_gpus() -> TorchFacts:
    """Where there is no GPU, torch need not be asked: importing it takes seconds."""
    try:
        return TorchFacts(version("torch"), None, sees_cuda=False)
    except PackageNotFoundError:
        raise UserError("torch is not installed; run make setup") from None


def _torch() -> TorchFacts:
    command = [sys.executable, "-m", "perl_rl.cli.engine_facts", "torch"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True
        )
        facts = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise UserError(f"torch cannot be asked for its GPUs: {error}; run make setup") from None
    if "error" in facts:
        raise UserError(f"torch cannot be imported: {facts['error']}; run make setup")
    return TorchFacts(facts["version"], facts["built_for_cuda"], facts["cuda"])
