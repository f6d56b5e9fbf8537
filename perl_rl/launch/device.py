"""Chooses a run's device and number type before anything starts, without torch in this process."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from shared.config import Config, ModelConfig
from shared.errors import UserError
from shared.families import chosen_packing
from shared.machine import TorchFacts, has_nvidia_gpu, settled

_PROBE_TIMEOUT_S = 120.0
"""For one import of torch on a busy machine with a cold disk."""


def settled_model(model: ModelConfig) -> tuple[ModelConfig, str]:
    """`model` with device and number type chosen, and a line that says which.

    Raises:
        UserError: when a GPU is asked for, or is there, and torch cannot use it.
    """
    return settled(model, _torch() if has_nvidia_gpu() else _without_gpus())


def check_attention(config: Config) -> None:
    """Refuse kernels of the trainer that its device, rows or number type do not allow.

    Args:
        config: with its device and number type chosen.

    Raises:
        UserError: naming the setting, or as `chosen_packing`.
    """
    trainer, on_cpu = config.trainer, config.model.device == "cpu"
    packing = chosen_packing(config.model.path, trainer.packing)
    if trainer.attention == "flex" and (on_cpu or packing == "replicated"):
        why = "this run is trained on the CPU" if on_cpu else f"its rows are {packing}"
        raise UserError(
            f"trainer.attention: flex needs a GPU and packed rows, and {why}; set it to auto"
        )
    if trainer.vision_attention == "flash" and (on_cpu or config.model.dtype != "bfloat16"):
        why = "on the CPU" if on_cpu else f"in {config.model.dtype}"
        raise UserError(
            "trainer.vision_attention: flash needs a GPU and bfloat16, and this run is trained "
            f"{why}; set it to auto"
        )


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
