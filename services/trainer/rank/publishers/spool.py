"""Published policy versions on disk: each whole, the newest few, and as deltas, some more."""

import itertools
import json
import mmap
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from shared.weights.delta import Bytes, encode
from shared.weights.manifest import (
    DATA_FILE,
    DELTA_FILE,
    MANIFEST_FILE,
    Adapter,
    Bucket,
    Delta,
    Manifest,
    TensorDtype,
    TensorInfo,
    digest,
)
from shared.wire.messages import PolicyVersion

T = TypeVar("T")
R = TypeVar("R")

_DTYPES: dict[torch.dtype, TensorDtype] = {
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.float32: "float32",
}
_SAFETENSORS: dict[TensorDtype, str] = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_MOST_THREADS = 4
_WORTH = 0.5
"""A delta of more than this share of the whole version is not kept."""


class WeightSpool:
    """A folder with one subfolder for each version."""

    def __init__(
        self,
        folder: Path,
        bucket_bytes: int,
        keep: int,
        *,
        chain: int = 0,
        full_every: int = 1,
        adapter: Adapter | None = None,
    ) -> None:
        """Args:
        keep: whole versions that stay, the newest ones.
        chain: deltas that stay, the newest ones; 0: none are made.
        full_every: a version whose step is a multiple has no delta.
        adapter: of which the tensors are; None: they are the policy's weights.
        """
        self._folder = folder
        self._bucket_bytes = bucket_bytes
        self._keep = keep
        self._chain = chain
        self._full_every = full_every
        self._adapter = adapter

    def write(
        self, version: PolicyVersion, tensors: Iterable[tuple[str, torch.Tensor]]
    ) -> Manifest:
        """Write a version; its folder gets its name only when it is complete.

        Args:
            tensors: name and CPU tensor of each parameter.
        """
        unfinished = self._folder / f".{version}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        infos = _write_safetensors(unfinished / DATA_FILE, list(tensors))
        manifest = self._described(version, infos, unfinished)
        (unfinished / MANIFEST_FILE).write_text(manifest.model_dump_json())
        final = self._folder / str(version)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)
        self._forget_old({str(delta.version) for delta in manifest.deltas})
        return manifest

    def _described(
        self, version: PolicyVersion, tensors: tuple[TensorInfo, ...], folder: Path
    ) -> Manifest:
        """The manifest of the written bytes; writes the delta beside them if there is a parent."""
        data = _mapped(folder / DATA_FILE)
        starts = range(0, len(data), self._bucket_bytes)
        bare = Manifest(
            version=version,
            tensors=tensors,
            buckets=tuple(
                Bucket(offset=at, nbytes=len(data[at : at + self._bucket_bytes]), blake3="")
                for at in starts
            ),
            nbytes=len(data),
            adapter=self._adapter,
        )
        parent = self._parent(bare)
        before = None if parent is None else _mapped(self._path(parent))
        digests, blocks = _digests_and_blocks(bare, data, before, folder / DELTA_FILE)
        buckets = tuple(
            bucket.model_copy(update={"blake3": one})
            for bucket, one in zip(bare.buckets, digests, strict=True)
        )
        deltas: tuple[Delta, ...] = ()
        if parent is not None and blocks is not None:
            delta = Delta(parent=parent.version, version=version, blocks=blocks)
            deltas = (*parent.deltas, delta)[-self._chain :]
        return bare.model_copy(update={"buckets": buckets, "deltas": deltas})

    def _path(self, manifest: Manifest) -> Path:
        return self._folder / str(manifest.version) / DATA_FILE

    def _parent(self, child: Manifest) -> Manifest | None:
        """The newest whole version, if the child can be a delta to it."""
        if self._chain == 0 or child.version.step % self._full_every == 0:
            return None
        before = [one for one in self._versions() if one.name != str(child.version)]
        if not before or not (before[-1] / DATA_FILE).is_file():
            return None
        text = (before[-1] / MANIFEST_FILE).read_text(encoding="utf-8")
        parent = Manifest.model_validate_json(text)
        return parent if child.same_layout(parent) else None

    def _versions(self) -> list[Path]:
        """The folders of all versions, the one written first at the beginning.

        A run that lost its state may count from a lower version than one that is still here.
        """
        folders = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        return sorted(folders, key=_written)

    def _forget_old(self, in_chain: set[str]) -> None:
        for folder in self._versions()[: -self._keep]:
            if folder.name in in_chain:
                (folder / DATA_FILE).unlink(missing_ok=True)
            else:
                shutil.rmtree(folder)


def _written(folder: Path) -> tuple[int, PolicyVersion]:
    return (folder / MANIFEST_FILE).stat().st_mtime_ns, PolicyVersion.parse(folder.name)


def _write_safetensors(
    file: Path, tensors: Sequence[tuple[str, torch.Tensor]]
) -> tuple[TensorInfo, ...]:
    """Write a file that safetensors' own readers open; where each tensor lies in it.

    Byte by byte the same for every version, but for the numbers, so that deltas are small.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    sizes = [tensor.nbytes for _, tensor in tensors]
    ends = list(itertools.accumulate(sizes))
    for (name, tensor), size, end in zip(tensors, sizes, ends, strict=True):
        header[name] = {
            "dtype": _SAFETENSORS[_DTYPES[tensor.dtype]],
            "shape": list(tensor.shape),
            "data_offsets": [end - size, end],
        }
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    first = 8 + len(words)
    with file.open("wb") as stream:
        stream.write(len(words).to_bytes(8, "little") + words)
        for _, tensor in tensors:
            stream.write(tensor.contiguous().view(torch.uint8).numpy().data)
    return tuple(
        TensorInfo(
            name=name,
            dtype=_DTYPES[tensor.dtype],
            shape=tuple(tensor.shape),
            offset=first + end - size,
            nbytes=size,
        )
        for (name, tensor), size, end in zip(tensors, sizes, ends, strict=True)
    )


def _mapped(file: Path) -> Bytes:
    """The file's bytes, read from the page cache as they are used."""
    with file.open("rb") as stream:
        return np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _digests_and_blocks(
    manifest: Manifest, data: Bytes, parent: Bytes | None, file: Path
) -> tuple[list[str], tuple[int, ...] | None]:
    """Each bucket's digest, and the sizes of its delta's blocks, which are written to `file`.

    None instead of sizes, and no file, when there is no parent or the delta is not worth it.
    """
    item_bytes, most = manifest.item_bytes, _WORTH * manifest.nbytes
    written: list[int] = []
    small = parent is not None

    def one(bucket: Bucket) -> tuple[str, bytes]:
        here = slice(bucket.offset, bucket.offset + bucket.nbytes)
        block = (
            encode(parent[here], data[here], item_bytes) if small and parent is not None else b""
        )
        return digest(data[here].data), block

    digests: list[str] = []
    with file.open("wb") as stream:
        for name, block in _in_threads(one, manifest.buckets):
            digests.append(name)
            written.append(len(block))
            stream.write(block)
            small = small and sum(written) <= most
    if not small:
        file.unlink()
    return digests, tuple(written) if small else None


def _in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The results in order; no more of them wait than there are threads."""
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads, thread_name_prefix="weights") as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
