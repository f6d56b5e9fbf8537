"""Messages come back as they were sent, and anything else is refused by name."""

import contextlib
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.wire.messages import (
    SCHEMA_VERSION,
    MalformedMessage,
    PolicyVersion,
    PromptTask,
    Response,
    ScoredGroup,
    ScoredOrder,
    TrajectoryBatch,
    VersionSpan,
    decode,
    encode,
    group_identity,
)
from tests.builders import batch, group, response, reward, task


def test_task_round_trip() -> None:
    assert decode(PromptTask, encode(task())) == task()


def test_group_round_trip_keeps_arrays_and_their_types() -> None:
    returned = decode(ScoredGroup, encode(group()))
    sent = group().orders[0].batch.responses[1]
    got = returned.orders[0].batch.responses[1]
    assert got.token_ids.dtype == np.int32 and got.logprobs.dtype == np.float32
    np.testing.assert_array_equal(got.token_ids, sent.token_ids)
    np.testing.assert_array_equal(got.logprobs, sent.logprobs)
    assert encode(returned) == encode(group())


@given(
    tokens=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
)
def test_response_round_trip_for_any_tokens_and_text(tokens: list[int], text: str) -> None:
    version = PolicyVersion(incarnation=0, step=0)
    sent = Response(
        token_ids=tokens,
        logprobs=[-1.0] * len(tokens),
        versions=(VersionSpan(version=version, tokens=len(tokens)),),
        text=text,
        finish_reason="length",
    )
    got = decode(Response, encode(sent))
    assert got.token_ids.tolist() == tokens
    assert got.text == text


def test_group_views() -> None:
    assert group().rewards().tolist() == [1.0, 0.0, 1.0, 0.0]
    assert group().oldest_version() == PolicyVersion(incarnation=2, step=4)
    assert group().response_tokens() == 16


def test_versions_are_ordered_by_incarnation_first() -> None:
    old, new = PolicyVersion(incarnation=1, step=9), PolicyVersion(incarnation=2, step=0)
    assert old < new and min(new, old) == old
    assert PolicyVersion.parse(str(new)) == new


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"not msgpack at all",
        encode(task())[:-7],
        encode(task()) + b"\x00",
        msgpack.packb(3),
        msgpack.packb(None),
        msgpack.packb(["PromptTask", SCHEMA_VERSION]),
        msgpack.packb({"PromptTask": 1, "b": 2, "c": 3}),
        msgpack.packb(["PromptTask", SCHEMA_VERSION, "fields"]),
        msgpack.packb(["PromptTask", SCHEMA_VERSION, None]),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="PromptTask"):
        decode(PromptTask, data)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(TrajectoryBatch, data)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_damaged_bytes_are_read_or_refused_but_never_crash(place: int, damage: bytes) -> None:
    data = bytearray(encode(batch()))
    place %= len(data)
    data[place : place + len(damage)] = damage
    with contextlib.suppress(MalformedMessage):
        decode(TrajectoryBatch, bytes(data))


def test_another_message_is_refused_by_name() -> None:
    with pytest.raises(MalformedMessage, match="expected TrajectoryBatch, got 'PromptTask'"):
        decode(TrajectoryBatch, encode(task()))


def test_unknown_schema_version_is_refused_with_the_mend() -> None:
    data = msgpack.packb(["PromptTask", SCHEMA_VERSION + 1, task().model_dump()])
    with pytest.raises(MalformedMessage, match=f"schema version {SCHEMA_VERSION + 1}, .*; run the"):
        decode(PromptTask, data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_ids", {"a": 1}),
        ("token_ids", [2**40]),
        ("token_ids", ["a"]),
        ("token_ids", [[1, 2, 3]]),
        ("token_ids", b"abc"),
        ("token_ids", None),
        ("logprobs", [0.0]),
        ("versions", []),
        ("finish_reason", "bored"),
        ("unknown", 1),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    fields = response().model_dump() | {field: value}
    data = msgpack.packb(["Response", SCHEMA_VERSION, fields])
    named = "message" if field in ("logprobs", "versions") else field
    with pytest.raises(MalformedMessage, match=f"Response, field '{named}'"):
        decode(Response, data)


def test_rewards_and_responses_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 responses with 1 rewards"):
        ScoredOrder(batch=batch(), rewards=(reward(),), scored_s=0.0)


def test_identity_survives_a_schema_change() -> None:
    fields = task().model_dump() | {"new_field": 1}
    expected = ("g-7", PolicyVersion(incarnation=2, step=5))
    assert group_identity(msgpack.packb(["PromptTask", 99, fields])) == expected
    trajectories = batch().model_dump() | {"responses": "lost"}
    assert group_identity(msgpack.packb(["TrajectoryBatch", 1, trajectories])) == expected


@given(st.binary(max_size=100))
def test_identity_of_random_bytes_is_lost(data: bytes) -> None:
    assert group_identity(data) is None


@pytest.mark.parametrize("fields", [None, [], {}, {"task": 3}, {"group_id": "g", "issued_at": 1}])
def test_identity_of_other_shapes_is_lost(fields: Any) -> None:
    assert group_identity(msgpack.packb(["PromptTask", 1, fields])) is None
