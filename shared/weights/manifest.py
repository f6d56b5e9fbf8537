"""The wire format of a published policy version: a manifest, and the bytes it describes.

The bytes are all tensors one after another, cut into buckets. A node fetches each bucket with an
HTTP range request and checks all digests before it uses the weights.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.wire.messages import PolicyVersion

MANIFEST_FILE = "manifest.json"
DATA_FILE = "weights.bin"
"""Files in a version's folder: rank 0 writes them, the control plane serves them."""

TensorDtype = Literal["bfloat16", "float16", "float32"]


class TensorInfo(BaseModel):
    """One parameter, under the name that the engine's ``load_weights`` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dtype: TensorDtype
    shape: tuple[int, ...]
    offset: int
    """Where it starts in the version's bytes."""
    nbytes: int


class Bucket(BaseModel):
    """A range of the version's bytes that is fetched in one request and has one digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    offset: int
    nbytes: int
    sha256: str


class Manifest(BaseModel):
    """The contents of a version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: PolicyVersion
    tensors: tuple[TensorInfo, ...]
    buckets: tuple[Bucket, ...]
    nbytes: int

    @property
    def dtype(self) -> TensorDtype | None:
        """The number type of most of the bytes: the one that the trainer computes in. None without
        tensors."""
        sizes = Counter[TensorDtype]()
        for tensor in self.tensors:
            sizes[tensor.dtype] += tensor.nbytes
        return max(sizes, key=sizes.__getitem__, default=None)


class CorruptWeights(RuntimeError):
    """Fetched bytes do not match their manifest."""


def verify(bucket: Bucket, data: bytes, version: PolicyVersion) -> None:
    """Check a bucket's fetched bytes.

    Raises:
        CorruptWeights: when the length or the digest differs.
    """
    if len(data) != bucket.nbytes or hashlib.sha256(data).hexdigest() != bucket.sha256:
        raise CorruptWeights(
            f"weights {version}: the {len(data)} bytes at offset {bucket.offset} do not match the "
            f"manifest ({bucket.nbytes} bytes, SHA-256 {bucket.sha256[:12]}...)"
        )


def make_buckets(file: Path, bucket_bytes: int) -> tuple[Bucket, ...]:
    """Cut the bytes of `file` into buckets, each with its digest."""
    buckets: list[Bucket] = []
    offset = 0
    with file.open("rb") as stream:
        while data := stream.read(bucket_bytes):
            digest = hashlib.sha256(data).hexdigest()
            buckets.append(Bucket(offset=offset, nbytes=len(data), sha256=digest))
            offset += len(data)
    return tuple(buckets)
