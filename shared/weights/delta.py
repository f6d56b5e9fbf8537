"""The lossless difference between two versions of one bucket: encoded, and applied.

A block is the bytes of both versions combined by XOR, which is its own inverse whatever the numbers
are. Bytes are put in order of their place in a number (all lowest bytes, then the next ones): few
numbers of a bf16 model change in a step, and those of an fp32 model only in their low bytes, so
most of these planes are zeros. Zstandard then leaves little of them.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.weights.manifest import CorruptWeights

Bytes = npt.NDArray[np.uint8]

_CODEC = "zstd"
_LEVEL = 1
_CHUNK = 1 << 17
"""Numbers that are worked on at once, so that they stay in the processor's cache."""


def encode(parent: Bytes, new: Bytes, item_bytes: int) -> bytes:
    """The block that turns `parent` into `new`; empty when they are equal.

    Args:
        parent, new: of equal length, uint8.
        item_bytes: bytes of one number: 2 or 4. Any is right; the numbers' own compresses best.
    """
    if np.array_equal(parent, new):
        return b""
    planes = np.empty(len(new), np.uint8)
    count = len(new) // item_bytes
    whole = count * item_bytes
    before, after = (one[:whole].view(f"<u{item_bytes}") for one in (parent, new))
    for start, stop in _chunks(count):
        mixed = before[start:stop] ^ after[start:stop]
        for place in range(item_bytes):
            # Storing as uint8 keeps the lowest byte.
            planes[place * count + start : place * count + stop] = mixed
            mixed >>= 8
    planes[whole:] = parent[whole:] ^ new[whole:]
    block: bytes = pa.Codec(_CODEC, compression_level=_LEVEL).compress(planes, asbytes=True)
    return block


def apply(block: bytes | memoryview, data: Bytes, item_bytes: int) -> None:
    """Turn the parent's bytes, in place, into those of the next version.

    Raises:
        CorruptWeights: when the block is damaged so that it cannot be read. Other damage is in the
            result, whose digest the caller checks.
    """
    if not block:
        return
    planes = _decompressed(block, len(data))
    count = len(data) // item_bytes
    whole = count * item_bytes
    numbers = data[:whole].view(f"<u{item_bytes}")
    for start, stop in _chunks(count):
        mixed = planes[start:stop].astype(numbers.dtype)
        for place in range(1, item_bytes):
            plane = planes[place * count + start : place * count + stop]
            mixed |= np.left_shift(plane, 8 * place, dtype=numbers.dtype)
        numbers[start:stop] ^= mixed
    data[whole:] ^= planes[whole:]


def _decompressed(block: bytes | memoryview, nbytes: int) -> Bytes:
    try:
        buffer = pa.Codec(_CODEC).decompress(block, decompressed_size=nbytes)
    except (OSError, pa.ArrowException) as error:
        raise CorruptWeights(f"a delta's block cannot be read: {error}") from None
    if buffer.size != nbytes:
        raise CorruptWeights(f"a delta's block holds {buffer.size} bytes instead of {nbytes}")
    return np.frombuffer(buffer, np.uint8)


def _chunks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, _CHUNK):
        yield start, min(start + _CHUNK, count)
