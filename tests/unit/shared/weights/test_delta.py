"""Deltas are lossless for whatever numbers, small for a training step, and never silently wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.weights.delta import apply, encode
from shared.weights.manifest import CorruptWeights


def applied(block: bytes, parent: np.ndarray, item_bytes: int) -> np.ndarray:
    data = parent.copy()
    apply(block, data, item_bytes)
    return data


@given(
    st.integers(0, 300).flatmap(
        lambda n: st.tuples(st.binary(min_size=n, max_size=n), st.binary(min_size=n, max_size=n))
    ),
    st.sampled_from([1, 2, 4]),
)
def test_any_bytes_come_back(pair: tuple[bytes, bytes], item_bytes: int) -> None:
    parent, new = (np.frombuffer(one, np.uint8) for one in pair)
    assert np.array_equal(applied(encode(parent, new, item_bytes), parent, item_bytes), new)


@pytest.mark.parametrize("item_bytes", [2, 4])
def test_more_numbers_than_are_worked_on_at_once_come_back(item_bytes: int) -> None:
    rng = np.random.default_rng(0)
    parent, new = (rng.integers(0, 256, item_bytes * 300_001 + 1, np.uint8) for _ in range(2))
    assert np.array_equal(applied(encode(parent, new, item_bytes), parent, item_bytes), new)


def test_not_a_number_and_infinity_are_bits_like_others() -> None:
    parent = np.array([np.nan, np.inf, -0.0, 1.0], np.float32).view(np.uint8)
    new = np.array([1.0, np.nan, 0.0, -np.inf], np.float32).view(np.uint8)
    assert np.array_equal(applied(encode(parent, new, 4), parent, 4), new)


def test_what_did_not_change_takes_nothing() -> None:
    data = np.arange(256, dtype=np.uint8)
    assert encode(data, data.copy(), 2) == b""
    assert np.array_equal(applied(b"", data, 2), data)


def test_a_step_of_a_bf16_model_is_small() -> None:
    """One number in a hundred moves to its neighbour."""
    rng = np.random.default_rng(0)
    parent = (rng.normal(0, 0.02, 500_000).astype(np.float32).view(np.uint32) >> 16).astype("<u2")
    new = parent + (rng.random(parent.size) < 0.01).astype("<u2")
    block = encode(parent.view(np.uint8), new.view(np.uint8), 2)
    assert len(block) < 0.02 * new.nbytes


@pytest.mark.parametrize("damage", ["cut", "garbled", "of another length"])
def test_a_block_that_cannot_be_read_is_refused(damage: str) -> None:
    rng = np.random.default_rng(0)
    parent, new = (rng.integers(0, 256, 5000, np.uint8) for _ in range(2))
    block = encode(parent, new, 2)
    spoilt = {
        "cut": block[:-7],
        "garbled": bytes(len(block)),
        "of another length": encode(parent[:4000], new[:4000], 2),
    }[damage]
    with pytest.raises(CorruptWeights, match="a delta's block"):
        applied(spoilt, parent, 2)
