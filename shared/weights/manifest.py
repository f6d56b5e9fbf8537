"""The format of a published policy version: a manifest, the whole bytes, and a delta.

The bytes are a safetensors file, cut into buckets of equal size, each with a digest. Whoever gets
the weights, whole or by deltas, checks the digest of every bucket before the engine sees them.
"""

from collections import Counter
from typing import Literal

import blake3
from pydantic import BaseModel, ConfigDict

from shared.wire.messages import PolicyVersion

SPOOL_FOLDER = "weights"
"""In the run folder: one folder for each version."""

MANIFEST_FILE = "manifest.json"
DATA_FILE = "weights.safetensors"
DELTA_FILE = "delta.bin"
"""Files in a version's folder; without a parent it has no delta."""

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_SETTINGS = "adapter_config.json"
"""What ``peft`` calls the files of an adapter's folder."""

TensorDtype = Literal["bfloat16", "float16", "float32"]
ITEM_BYTES: dict[TensorDtype, int] = {"bfloat16": 2, "float16": 2, "float32": 4}


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
    """A range of the version's bytes with one digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    offset: int
    nbytes: int
    blake3: str


class Delta(BaseModel):
    """What turns the bytes of `parent` into those of `version`: one block for each bucket."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parent: PolicyVersion
    version: PolicyVersion
    blocks: tuple[int, ...]
    """Bytes of each block, one after another in the delta's file; 0: the bucket did not change."""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole delta."""
        return sum(self.blocks)


class Adapter(BaseModel):
    """What a version's tensors are when they are a low-rank adapter's, named as ``peft`` does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    """Digest of the start model that it belongs to (``shared/model_identity.py``)."""
    rank: int
    alpha: int
    """The product of both matrices is scaled by ``alpha / rank``."""


class Manifest(BaseModel):
    """The contents of a version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: PolicyVersion
    tensors: tuple[TensorInfo, ...]
    buckets: tuple[Bucket, ...]
    nbytes: int
    adapter: Adapter | None = None
    """Of an adapter's version; None: the tensors are all of the policy's weights."""
    deltas: tuple[Delta, ...] = ()
    """A chain, the oldest first: each one's parent is the version before; the last one ends here.
    All versions in it have this one's tensors and the same ranges of buckets."""

    @property
    def dtype(self) -> TensorDtype | None:
        """The number type of most of the bytes: the one that the trainer computes in. None without
        tensors."""
        sizes = Counter[TensorDtype]()
        for tensor in self.tensors:
            sizes[tensor.dtype] += tensor.nbytes
        return max(sizes, key=sizes.__getitem__, default=None)

    @property
    def item_bytes(self) -> int:
        """Bytes of one number of that type; deltas are made of numbers of this size."""
        return ITEM_BYTES[self.dtype or "float32"]

    def same_layout(self, other: "Manifest") -> bool:
        """Whether each byte of `other` means the same as here, in the same buckets."""
        here, there = ([(one.offset, one.nbytes) for one in m.buckets] for m in (self, other))
        return self.tensors == other.tensors and here == there

    def chain_from(self, held: PolicyVersion) -> tuple[Delta, ...] | None:
        """The deltas that lead from `held` to this version; None when the chain starts later."""
        if held == self.version:
            return ()
        for number, delta in enumerate(self.deltas):
            if delta.parent == held:
                return self.deltas[number:]
        return None


class CorruptWeights(RuntimeError):
    """Fetched bytes do not match their manifest."""


def digest(data: bytes | memoryview) -> str:
    """BLAKE3 of `data`: as safe as SHA-256, and faster. Other threads run meanwhile."""
    return blake3.blake3(data).hexdigest()


def verify(bucket: Bucket, data: bytes | memoryview, version: PolicyVersion) -> None:
    """Check a bucket's bytes.

    Raises:
        CorruptWeights: when the length or the digest differs.
    """
    if len(data) != bucket.nbytes or digest(data) != bucket.blake3:
        raise CorruptWeights(
            f"weights {version}: the {len(data)} bytes at offset {bucket.offset} do not match the "
            f"manifest ({bucket.nbytes} bytes, BLAKE3 {bucket.blake3[:12]}...)"
        )
