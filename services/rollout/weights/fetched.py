"""What every weight backend of a node hands over: the checked bytes of a version, on this host."""

import math
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from shared.weights.manifest import ITEM_BYTES, CorruptWeights, Manifest
from shared.wire.board import Announcement
from shared.wire.messages import PolicyVersion


class FetchFailed(RuntimeError):
    """A version could not be fetched; a later try may succeed."""


@dataclass(frozen=True)
class FetchedVersion:
    """A version whose bytes lie on this host, verified."""

    version: PolicyVersion
    manifest: Path
    data: Path


class Fetcher(Protocol):
    """Gets versions while the engine samples; use it as long as the service runs, then close it."""

    def fetched(self, announcement: Announcement) -> AbstractAsyncContextManager[FetchedVersion]:
        """The announced version's files, which stay as they are until the end of the block.

        Raises:
            FetchFailed: when the version cannot be reached, or is not kept any more.
            CorruptWeights: when the bytes do not match the manifest.
            TimeoutError: when it takes longer than ``weights.fetch_timeout_s``.
        """

    def close(self) -> None:
        """Delete what is kept for the next version."""


def read_manifest(text: bytes, announced: PolicyVersion) -> Manifest:
    """The manifest of the announced version.

    Raises:
        CorruptWeights: when it is of another version, or describes bytes that no bucket covers.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise CorruptWeights(f"weights {announced}: the manifest does not fit ({error})") from None
    if manifest.version != announced:
        raise CorruptWeights(f"weights {announced}: the manifest is of {manifest.version}")
    end = 0
    for bucket in manifest.buckets:
        if bucket.offset != end:
            raise CorruptWeights(f"weights {announced}: no bucket covers the bytes from {end}")
        end += bucket.nbytes
    if end != manifest.nbytes:
        raise CorruptWeights(
            f"weights {announced}: the buckets end at byte {end} of {manifest.nbytes}"
        )
    _check_tensors(manifest)
    _check_deltas(manifest)
    return manifest


def _check_tensors(manifest: Manifest) -> None:
    for tensor in manifest.tensors:
        size = math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype]
        if tensor.nbytes != size or not 0 <= tensor.offset <= manifest.nbytes - size:
            raise CorruptWeights(
                f"weights {manifest.version}: tensor '{tensor.name}' does not fit its shape and "
                "the bytes"
            )


def _check_deltas(manifest: Manifest) -> None:
    deltas = manifest.deltas
    ends = [delta.version for delta in deltas]
    starts = [delta.parent for delta in deltas[1:]]
    blocks = {len(delta.blocks) for delta in deltas}
    sizes_fit = all(size >= 0 for delta in deltas for size in delta.blocks)
    if deltas and (
        [*starts, manifest.version] != ends or blocks != {len(manifest.buckets)} or not sizes_fit
    ):
        raise CorruptWeights(f"weights {manifest.version}: the deltas are no chain to this version")
