"""Turns a published adapter into whole weights for the engine: ``W + alpha / rank * B @ A``.

Each version is computed from the start model in the node's own model folder, in fp32, and rounded
once: versions do not build on each other, so no error adds up. It happens beside the sampling; the
engine then loads the result as it loads any version.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from services.rollout.weights.fetched import FetchedVersion
from services.rollout.weights.loader import DTYPES, mapped_tensors
from services.rollout.weights.local_copy import SHARED_MEMORY, LocalCopy, roomy
from shared.errors import UserError
from shared.model_identity import model_digest
from shared.weights.manifest import (
    Adapter,
    Bucket,
    CorruptWeights,
    Manifest,
    TensorDtype,
    TensorInfo,
)
from shared.wire.messages import PolicyVersion

_PEFT_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_RENAMED = (
    ("model.language_model.", "model.language_model."),
    ("model.visual.", "model.visual."),
    ("visual.", "model.visual."),
    ("model.", "model.language_model."),
)
"""How weight files begin a name, some of them written by older releases of transformers, and how
the trainer's model does."""


class Merger:
    """Holds the whole weights of the last adapter version; use it as long as the service runs."""

    def __init__(self, base: Path, dtype: TensorDtype) -> None:
        """Args:
        base: folder of the start model.
        dtype: what the engine computes in.
        """
        self._base = base
        self._dtype = dtype
        self._digest: str | None = None
        self._copy: LocalCopy | None = None
        self._layout: Manifest

    def close(self) -> None:
        """Delete the weights."""
        if self._copy is not None:
            self._copy.remove()
            self._copy = None

    async def whole(self, fetched: FetchedVersion) -> FetchedVersion:
        """The version itself, or, of an adapter, the policy's weights with it.

        Raises:
            UserError: when the adapter belongs to another model, or has another number type.
            CorruptWeights: when it does not fit the model.
        """
        text = await asyncio.to_thread(fetched.manifest.read_text, "utf-8")
        manifest = Manifest.model_validate_json(text)
        if manifest.adapter is None:
            return fetched
        return await asyncio.to_thread(self._merge, manifest, manifest.adapter, fetched.data)

    def _merge(self, manifest: Manifest, adapter: Adapter, data: Path) -> FetchedVersion:
        if manifest.dtype != self._dtype:
            raise UserError(
                f"weights {manifest.version} are {manifest.dtype}, and this node's engine computes "
                f"in {self._dtype}: set model.dtype to {manifest.dtype} or {self._dtype} for "
                "trainer and nodes"
            )
        self._check_base(adapter, manifest.version)
        with ExitStack() as open_files:
            base = {name: file for file in self._files(open_files) for name in file.keys()}  # noqa: SIM118
            copy = self._copy or self._copied(base)
            pairs = _pairs(manifest, data)
            for number, tensor in enumerate(self._layout.tensors):
                pair = pairs.pop(_trained_name(tensor.name), None)
                if pair is not None:
                    weight = base[tensor.name].get_tensor(tensor.name)
                    self._put(copy, number, _added(weight, pair, adapter), manifest.version)
                elif copy.versions[number] != self._layout.version:
                    # An earlier version changed it, or was broken off.
                    weight = base[tensor.name].get_tensor(tensor.name)
                    self._put(copy, number, weight, self._layout.version)
        if pairs:
            raise CorruptWeights(
                f"weights {manifest.version}: the adapter's layer {min(pairs)} is not in "
                f"{self._base}"
            )
        whole = self._layout.model_copy(update={"version": manifest.version})
        copy.manifest.write_text(whole.model_dump_json(), encoding="utf-8")
        return FetchedVersion(manifest.version, copy.manifest, copy.file)

    def _files(self, open_files: ExitStack) -> Iterator[Any]:
        for file in sorted(self._base.glob("*.safetensors")):
            yield open_files.enter_context(safe_open(file, framework="pt"))

    def _check_base(self, adapter: Adapter, version: PolicyVersion) -> None:
        self._digest = self._digest or model_digest(self._base)
        if self._digest != adapter.base:
            raise UserError(
                f"weights {version} are an adapter of another model than model.path {self._base}: "
                "give trainer and nodes the same model folder"
            )

    def _copied(self, base: dict[str, Any]) -> LocalCopy:
        """A copy of the start model's weights, in the engine's number type."""
        self._layout = _layout(base, self._dtype)
        copy = LocalCopy(self._layout, roomy(self._layout.nbytes, SHARED_MEMORY))
        for number, tensor in enumerate(self._layout.tensors):
            weight = base[tensor.name].get_tensor(tensor.name)
            self._put(copy, number, weight, self._layout.version)
        self._copy = copy
        return copy

    def _put(
        self, copy: LocalCopy, number: int, weight: torch.Tensor, version: PolicyVersion
    ) -> None:
        rounded = weight.to(DTYPES[self._dtype]).contiguous().view(-1)
        with copy.changing(number, version) as place:
            place[:] = rounded.view(torch.uint8).numpy()


def _added(weight: torch.Tensor, pair: dict[str, torch.Tensor], adapter: Adapter) -> torch.Tensor:
    """``W + alpha / rank * B @ A`` in fp32, a tensor of its own."""
    down, up = pair[_A], pair[_B]
    rows, columns = weight.shape
    if up.shape != (rows, adapter.rank) or down.shape != (adapter.rank, columns):
        raise CorruptWeights(
            f"an adapter of {tuple(up.shape)} by {tuple(down.shape)} does not fit weights of "
            f"{rows} by {columns} and rank {adapter.rank}"
        )
    scale = adapter.alpha / adapter.rank
    return torch.addmm(weight.float(), up.float(), down.float(), alpha=scale)


def _layout(base: dict[str, Any], dtype: TensorDtype) -> Manifest:
    """Where each of the model's tensors will lie, each in a bucket of its own."""
    item, end = DTYPES[dtype].itemsize, 0
    tensors, buckets = [], []
    for name, file in base.items():
        shape = tuple(file.get_slice(name).get_shape())
        nbytes = item * torch.Size(shape).numel()
        tensors.append(TensorInfo(name=name, dtype=dtype, shape=shape, offset=end, nbytes=nbytes))
        buckets.append(Bucket(offset=end, nbytes=nbytes, blake3=""))
        end += nbytes
    start = PolicyVersion(incarnation=0, step=0)
    return Manifest(version=start, tensors=tuple(tensors), buckets=tuple(buckets), nbytes=end)


def _pairs(manifest: Manifest, data: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Both matrices of each adapted layer, by the name of its weight."""
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in mapped_tensors(manifest, data):
        layer, end = name[: -len(_A)], name[-len(_A) :]
        if not name.startswith(_PEFT_PREFIX) or end not in (_A, _B):
            raise CorruptWeights(f"weights {manifest.version}: '{name}' is no adapter's tensor")
        pairs.setdefault(f"{layer.removeprefix(_PEFT_PREFIX)}.weight", {})[end] = tensor
    for name, pair in pairs.items():
        if pair.keys() != {_A, _B}:
            raise CorruptWeights(f"weights {manifest.version}: the adapter of '{name}' is half")
    return pairs


def _trained_name(name: str) -> str:
    """A parameter's name in the trainer's model, from its name in a weight file."""
    for begins, instead in _RENAMED:
        if name.startswith(begins):
            return instead + name.removeprefix(begins)
    return name
