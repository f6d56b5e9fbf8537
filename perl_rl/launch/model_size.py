"""Counts a model's parameters in the headers of its weight files, without loading them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.config.lora import LoraConfig
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
    adapter: int = 0
    """Those of an adapter, beside them."""


def model_size(folder: Path, lora: LoraConfig | None = None) -> ModelSize:
    """The size of the model in `folder`, and of the adapter that would be trained.

    Raises:
        UserError: naming the first weight file that is damaged or was not downloaded, or a target
            of the adapter that no layer has; or as `check_family`.
    """
    part = FAMILIES[check_family(folder)].vision
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        shapes |= _tensors(file)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    vision = sum(size for name, size in sizes.items() if part in name)
    adapter = 0 if lora is None else _adapter(shapes, lora, part)
    return ModelSize(sum(sizes.values()), vision, adapter)


def _adapter(shapes: dict[str, list[int]], lora: LoraConfig, vision: str) -> int:
    """Parameters of an adapter: for each chosen layer, as many rows and columns as it has.

    Args:
        vision: part of the names in the vision tower.
    """
    layers = {
        name.removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and _may_have_one(name, lora, vision)
    }
    return lora.rank * sum(sum(layers[name]) for name in lora.chosen(layers))


def _may_have_one(name: str, lora: LoraConfig, vision: str) -> bool:
    # A table of positions has two dimensions too, and is no linear layer.
    if name.endswith(".pos_embed.weight"):
        return False
    return lora.vision if vision in name else ".layers." in name


def _tensors(file: Path) -> dict[str, list[int]]:
    """The shape of each tensor of a file."""
    length, text = _header(file)
    try:
        header: dict[str, Any] = json.loads(text)
        header.pop("__metadata__", None)
        shapes = {name: [int(size) for size in one["shape"]] for name, one in header.items()}
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
    return shapes


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
