"""Counts a model's parameters in the headers of its weight files, without loading them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import UserError

_LONGEST_HEADER = 100 * 2**20
"""In bytes; the format's own limit."""
_POINTER = b"version https://git-lfs"
_VISION = "visual."


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model."""

    parameters: int
    vision: int
    """Those of the vision tower."""


def model_size(folder: Path) -> ModelSize:
    """The size of the model in `folder`.

    Raises:
        UserError: naming the first weight file that is damaged or was not downloaded.
    """
    parameters = vision = 0
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in _header(file).items():
            numbers = math.prod(tensor["shape"]) if name != "__metadata__" else 0
            parameters += numbers
            vision += numbers if _VISION in name else 0
    return ModelSize(parameters, vision)


def _header(file: Path) -> dict[str, Any]:
    """Name, type and shape of each tensor: JSON behind its length in 8 bytes, the lowest first."""
    with file.open("rb") as stream:
        start = stream.read(len(_POINTER))
        if start == _POINTER:
            raise UserError(
                f"model.path {file}: is a pointer of Git LFS, not the weights; download the model "
                "again, with git lfs pull"
            )
        length = int.from_bytes(start[:8], "little")
        stream.seek(8)
        text = stream.read(length) if length <= _LONGEST_HEADER else b""
    try:
        header: dict[str, Any] = json.loads(text)
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        [math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise UserError(f"model.path {file}: is no safetensors file; copy the model again") from None
    missing = 8 + length + max(ends, default=0) - file.stat().st_size
    if missing > 0:
        raise UserError(
            f"model.path {file}: is cut off, {missing:,} bytes are missing; copy the model again"
        )
    return header
