"""Counts a model's parameters in the headers of its weight files, without loading them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.families import FAMILIES, check_family

_LONGEST_HEADER = 100 * 2**20
"""In bytes; the format's own limit."""
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model."""

    parameters: int
    vision: int
    """Those of the vision tower."""


def model_size(folder: Path) -> ModelSize:
    """The size of the model in `folder`.

    Raises:
        UserError: naming the first weight file that is damaged or was not downloaded, or as
            `check_family`.
    """
    part = FAMILIES[check_family(folder)].vision
    parameters = vision = 0
    for file in sorted(folder.glob("*.safetensors")):
        for name, numbers in _tensors(file).items():
            parameters += numbers
            vision += numbers if part in name else 0
    return ModelSize(parameters, vision)


def _tensors(file: Path) -> dict[str, int]:
    """How many numbers each tensor of a file has."""
    length, text = _header(file)
    try:
        header: dict[str, Any] = json.loads(text)
        header.pop("__metadata__", None)
        numbers = {name: math.prod(one["shape"]) for name, one in header.items()}
        end = max((one["data_offsets"][1] for one in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise UserError(
            f"model.path {file}: is no safetensors file; copy the model again"
        ) from None
    missing = 8 + length + end - file.stat().st_size
    if missing > 0:
        raise UserError(
            f"model.path {file}: is cut off, {missing:,} bytes are missing; copy the model again"
        )
    return numbers


def _header(file: Path) -> tuple[int, bytes]:
    """The length of the header, which is in the first 8 bytes, the lowest first; and its JSON."""
    with file.open("rb") as stream:
        start = stream.read(len(_POINTER))
        if start == _POINTER:
            raise UserError(
                f"model.path {file}: is a pointer of Git LFS, not the weights; download the model "
                "again, with git lfs pull"
            )
        length = int.from_bytes(start[:8], "little")
        stream.seek(8)
        return length, stream.read(length) if length <= _LONGEST_HEADER else b""
