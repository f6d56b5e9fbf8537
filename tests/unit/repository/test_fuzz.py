"""Decoders of what comes from outside raise what they document and nothing else, on any bytes."""

import contextlib
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import given, settings
from PIL import Image

from shared.errors import UserError
from shared.images import FORMATS, decode_image
from shared.wire.messages import (
    SCHEMA_VERSION,
    MalformedMessage,
    PromptTask,
    ScoredGroup,
    TrajectoryBatch,
    decode,
    encode,
    group_identity,
)
from tests.builders import batch, group, task
from tests.paths import ROOT

MAX_PIXELS = 10_000
PATIENCE_S = 300.0
GOOD = [
    (PromptTask, encode(task())),
    (TrajectoryBatch, encode(batch())),
    (ScoredGroup, encode(group())),
]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
damage = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8)


def read(kind: type, data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        decode(kind, data)
    group_identity(data)


def damaged(data: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[: len(changed) - cut % len(changed)])


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.sampled_from(GOOD), damage, st.integers(0, 10**6) | st.just(0))
def test_damaged_and_truncated_messages(good: Any, changes: Any, cut: int) -> None:
    kind, data = good
    read(kind, damaged(data, changes, cut))


@pytest.mark.slow
@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.sampled_from(GOOD), st.dictionaries(st.text(max_size=8), values, max_size=3), values)
def test_well_formed_msgpack_of_any_shape(good: Any, fields: Any, value: Any) -> None:
    kind, data = good
    _, _, known = msgpack.unpackb(data)
    for name in (*fields, *list(known)[:3]):
        read(kind, msgpack.packb([kind.__name__, SCHEMA_VERSION, known | fields | {name: value}]))
    read(kind, msgpack.packb(value))


@pytest.mark.parametrize(
    "data", [b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
def test_nesting_and_sizes_that_are_claimed_only_cost_no_memory(data: bytes) -> None:
    tracemalloc.start()
    for kind, _ in GOOD:
        read(kind, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def picture(form: str) -> bytes:
    data = io.BytesIO()
    Image.effect_noise((40, 30), 60).convert("RGB").save(data, form)
    return data.getvalue()


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.sampled_from(FORMATS), damage, st.integers(0, 10**6) | st.just(0))
def test_damaged_and_truncated_pictures(form: str, changes: Any, cut: int) -> None:
    data = damaged(PICTURES[form], changes, cut)
    with contextlib.suppress(UserError):
        decoded = decode_image(data, "x", MAX_PIXELS)
        assert decoded.width * decoded.height <= MAX_PIXELS


PICTURES = {form: picture(form) for form in FORMATS}


# Small files that claim, or unpack to, much more than a picture of theirs needs.


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A grey picture of 24 x 16 with extra chunks before its pixels."""
    pixels = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(16)))
    head = struct.pack(">IIBBBBB", 24, 16, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def gif(width: int, height: int) -> bytes:
    """A canvas of 10 x 10 whose only frame is of another size."""
    canvas = struct.pack("<HH", 10, 10) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    return (
        b"GIF89a" + canvas + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02D\1\0;"
    )


def tiff(**changed: int) -> bytes:
    """A grey picture of 24 x 16 with other numbers in its tags."""
    tags = {256: 24, 257: 16, 258: 8, 259: 8, 262: 1, 273: 150, 277: 1, 278: 16, 279: 20}
    tags |= {int(tag.removeprefix("tag")): value for tag, value in changed.items()}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(entries) + bytes(68)


def packed_zeros(mib: int) -> bytes:
    """So many MiB of zeros, made without ever holding them."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(mib)), packer.flush()])


def bombs() -> dict[str, bytes]:
    zeros, notes = packed_zeros(300), packed_zeros(1)
    return {
        "text": png((b"zTXt", b"k\0\0" + zeros)),
        "international text": png((b"iTXt", b"k\0\1\0\0\0" + zeros)),
        "much text": png(*[(b"zTXt", b"k%d\0\0" % number + notes) for number in range(300)]),
        "colour profile": png((b"iCCP", b"k\0\0" + zeros)),
        "frame": gif(13_000, 13_000),
        "larger frame": gif(65_535, 65_535),
        "strips": tiff(tag278=4_000_000_000),
        "bytes of a strip": tiff(tag259=5, tag279=2_000_000_000),
        "tiles": tiff(tag322=65_520, tag323=65_520, tag324=150, tag325=20),
        "samples": tiff(tag259=5, tag277=65_535),
    }


def memory_peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def decode_hostile_inputs() -> None:
    """In a process of its own: prints by how many MiB its memory peak grows."""
    files, before = bombs(), memory_peak_mib()
    for name, data in files.items():
        assert len(data) < 1_000_000, name
        with contextlib.suppress(UserError):
            decode_image(data, name, MAX_PIXELS)
            raise AssertionError(f"{name} is decoded")
    test_damaged_and_truncated_pictures()
    test_damaged_and_truncated_messages()
    test_well_formed_msgpack_of_any_shape()
    print(memory_peak_mib() - before)


@pytest.mark.slow
def test_hostile_pictures_and_messages_cost_a_bounded_memory() -> None:
    script = "from tests.unit.repository.test_fuzz import decode_hostile_inputs as run; run()"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr
    # Pillow itself allows 64 MiB of text in a picture; a bomb let through would take gigabytes.
    assert 0 <= float(ran.stdout) < 160
