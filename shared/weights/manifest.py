"""The wire format of a published policy version: a manifest, and the bytes it describes.

The bytes are all tensors one after another, cut into buckets; a node fetches bucket by bucket with
an HTTP range request and checks each digest before it uses anything.
"""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.wire.messages import PolicyVersion

MANIFEST_FILE = "manifest.json"
DATA_FILE = "weights.bin"
"""In a version's folder, as rank 0 writes it and the control plane serves it."""

TensorDtype = Literal["bfloat16", "float16", "float32"]


class TensorInfo(BaseModel):
    """One parameter as the engine's ``load_weights`` takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dtype: TensorDtype
    shape: tuple[int, ...]
    offset: int
    """Of its first byte in the version's bytes."""
    nbytes: int


class Bucket(BaseModel):
    """A range of the version's bytes that is fetched and verified at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    offset: int
    nbytes: int
    sha256: str


class Manifest(BaseModel):
    """What a version consists of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: PolicyVersion
    tensors: tuple[TensorInfo, ...]
    buckets: tuple[Bucket, ...]
    nbytes: int


class CorruptWeights(RuntimeError):
    """Fetched bytes that do not match the manifest's digest."""


def verify(bucket: Bucket, data: bytes, version: PolicyVersion) -> None:
    """Check fetched bytes against their manifest.

    Raises:
        CorruptWeights: when the length or the digest differs.
    """
    if len(data) != bucket.nbytes or hashlib.sha256(data).hexdigest() != bucket.sha256:
        raise CorruptWeights(
            f"weights {version}: the {len(data)} bytes at offset {bucket.offset} do not match the "
            f"manifest ({bucket.nbytes} bytes, SHA-256 {bucket.sha256[:12]}...)"
        )


def make_buckets(file: Path, bucket_bytes: int) -> tuple[Bucket, ...]:
    """Cut the bytes of `file` into buckets and digest each."""
    buckets: list[Bucket] = []
    offset = 0
    with file.open("rb") as stream:
        while data := stream.read(bucket_bytes):
            digest = hashlib.sha256(data).hexdigest()
            buckets.append(Bucket(offset=offset, nbytes=len(data), sha256=digest))
            offset += len(data)
    return tuple(buckets)
