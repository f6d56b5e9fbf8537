"""Decoders of what comes from outside raise what they document and nothing else, on any bytes."""

import contextlib
import io
import tracemalloc
from typing import Any

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import given, settings
from PIL import Image

from shared.errors import UserError
from shared.images import FORMATS, decode_image
from shared.messages import (
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

MAX_PIXELS = 10_000
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
