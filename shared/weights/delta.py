"""The lossless difference between two versions of one bucket: encoded, and applied.

A block is the bytes of both versions combined by XOR, which is its own inverse whatever the numbers
are. It is made in pieces that stay in the processor's cache. In each piece the bytes are put in
order of their place in a number (all lowest bytes, then the next ones): few numbers of a bf16 model
change in a step, and those of an fp32 model only in their low bytes, so most of these planes are
zeros, and Zstandard leaves little of them. Each piece is preceded by its compressed size, 4 bytes,
lowest first; 0 means that it did not change.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.weights.manifest import CorruptWeights

Bytes = npt.NDArray[np.uint8]

_CODEC = "zstd"
_LEVEL = 1
_PIECE = 1 << 19
"""Bytes. A part of the format: both sides cut a bucket in the same way."""
_SIZE = 4


def encode(parent: Bytes, new: Bytes, item_bytes: int) -> bytes:
    """The block that turns `parent` into `new`; empty when they are equal.

    Args:
        parent, new: of equal length, uint8.
        item_bytes: bytes of one number: 1, 2 or 4; the numbers' own compresses best.
    """
    codec = pa.Codec(_CODEC, compression_level=_LEVEL)
    parts: list[bytes] = []
    changed = False
    planes = np.empty(min(_PIECE, len(new)), np.uint8)
    for before, after in zip(_pieces(parent), _pieces(new), strict=True):
        piece = b""
        if not np.array_equal(before, after):
            changed = True
            size = _to_planes(before, after, item_bytes, planes)
            piece = codec.compress(planes[:size], asbytes=True)
        parts += (len(piece).to_bytes(_SIZE, "little"), piece)
    return b"".join(parts) if changed else b""


def apply(block: bytes | memoryview, data: Bytes, item_bytes: int) -> None:
    """Turn the parent's bytes, in place, into those of the next version.

    Raises:
        CorruptWeights: when the block is damaged so that it cannot be read; some of the bytes may
            be changed by then. Other damage is in the result, whose digest the caller checks.
    """
    if not block:
        return
    codec = pa.Codec(_CODEC)
    view, at = memoryview(block), 0
    for piece in _pieces(data):
        size = int.from_bytes(view[at : at + _SIZE], "little")
        at += _SIZE
        if at + size > len(view):
            raise CorruptWeights("a delta's block cannot be read: it is too short")
        if size:
            planes = _decompressed(codec, view[at : at + size], len(piece))
            _from_planes(planes, piece, item_bytes)
        at += size
    if at != len(view):
        raise CorruptWeights(f"a delta's block has {len(view) - at} bytes too many")


def _pieces(data: Bytes) -> Iterator[Bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _to_planes(parent: Bytes, new: Bytes, item_bytes: int, planes: Bytes) -> int:
    """Write the XOR of both to `planes`, all lowest bytes first; returns its length."""
    count = len(new) // item_bytes
    whole = count * item_bytes
    mixed = parent[:whole].view(f"<u{item_bytes}") ^ new[:whole].view(f"<u{item_bytes}")
    for place in range(item_bytes):
        # Storing as uint8 keeps the lowest byte.
        planes[place * count : (place + 1) * count] = mixed
        if place < item_bytes - 1:
            mixed >>= 8
    planes[whole : len(new)] = parent[whole:] ^ new[whole:]
    return len(new)


def _from_planes(planes: Bytes, data: Bytes, item_bytes: int) -> None:
    """Combine `data`, in place, with what `_to_planes` wrote."""
    count = len(data) // item_bytes
    whole = count * item_bytes
    numbers = data[:whole].view(f"<u{item_bytes}")
    mixed = planes[:count].astype(numbers.dtype)
    for place in range(1, item_bytes):
        plane = planes[place * count : (place + 1) * count].astype(numbers.dtype)
        plane <<= 8 * place
        mixed |= plane
    numbers ^= mixed
    data[whole:] ^= planes[whole:]


def _decompressed(codec: pa.Codec, piece: memoryview, nbytes: int) -> Bytes:
    try:
        buffer = codec.decompress(piece, decompressed_size=nbytes)
    except (OSError, pa.ArrowException) as error:
        raise CorruptWeights(f"a delta's block cannot be read: {error}") from None
    if buffer.size != nbytes:
        raise CorruptWeights(f"a delta's block holds {buffer.size} bytes instead of {nbytes}")
    return np.frombuffer(buffer, np.uint8)
