"""Published policy versions on disk: written by rank 0, served by the control plane."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from shared.weights.manifest import (
    DATA_FILE,
    MANIFEST_FILE,
    Manifest,
    TensorDtype,
    TensorInfo,
    make_buckets,
)
from shared.wire.messages import PolicyVersion

_DTYPES: dict[torch.dtype, TensorDtype] = {
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.float32: "float32",
}


class WeightSpool:
    """A folder with one subfolder for each version; only the newest few are kept."""

    def __init__(self, folder: Path, bucket_bytes: int, keep: int) -> None:
        self._folder = folder
        self._bucket_bytes = bucket_bytes
        self._keep = keep

    def write(
        self, version: PolicyVersion, tensors: Iterable[tuple[str, torch.Tensor]]
    ) -> Manifest:
        """Write a version; its folder gets its name only when it is complete.

        Args:
            tensors: name and CPU tensor of each parameter; consumed one at a time.
        """
        unfinished = self._folder / f".{version}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        infos = tuple(_write_tensors(unfinished / DATA_FILE, tensors))
        manifest = Manifest(
            version=version,
            tensors=infos,
            buckets=make_buckets(unfinished / DATA_FILE, self._bucket_bytes),
            nbytes=sum(info.nbytes for info in infos),
        )
        (unfinished / MANIFEST_FILE).write_text(manifest.model_dump_json())
        final = self._folder / str(version)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)
        self._forget_old()
        return manifest

    def _forget_old(self) -> None:
        folders = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        folders.sort(key=lambda path: PolicyVersion.parse(path.name))
        for folder in folders[: -self._keep]:
            shutil.rmtree(folder)


def _write_tensors(file: Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[TensorInfo]:
    offset = 0
    with file.open("wb") as stream:
        for name, tensor in tensors:
            data = tensor.contiguous().view(torch.uint8).numpy().data
            stream.write(data)
            yield TensorInfo(
                name=name,
                dtype=_DTYPES[tensor.dtype],
                shape=tuple(tensor.shape),
                offset=offset,
                nbytes=data.nbytes,
            )
            offset += data.nbytes
