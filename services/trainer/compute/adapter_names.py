"""What of a model is an adapter's, and how peft's files name it. Needs no peft."""

from torch import nn

PEFT_PREFIX = "base_model.model."
"""What peft's files put before each parameter's name."""
_NAME = "default"
"""What peft calls the only adapter of a model."""


def has_adapter(model: nn.Module) -> bool:
    """Whether peft has put an adapter into the model."""
    return hasattr(model, "peft_config")


def is_adapter(name: str) -> bool:
    """Whether this parameter of a model is an adapter's."""
    return ".lora_" in name


def peft_name(name: str) -> str:
    """A parameter's name in peft's files, from its name in the model."""
    return PEFT_PREFIX + name.replace(f".{_NAME}.", ".")
