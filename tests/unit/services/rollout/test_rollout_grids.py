"""A node knows how each image of a prompt was cut, whether the engine cut it now or before."""

from types import SimpleNamespace

import pytest
import torch

from services.rollout.engine.grids import GridMemory
from services.rollout.failures import SamplingFailed


def cut(*grid: int) -> dict[str, SimpleNamespace]:
    """As vLLM's processor gives it."""
    return {"image_grid_thw": SimpleNamespace(data=torch.tensor(grid))}


def test_an_image_is_remembered_when_the_engine_keeps_it() -> None:
    memory = GridMemory()
    assert memory.of(["a", "b", "a"], [cut(1, 4, 6), cut(1, 2, 2), None]) == (
        *((1, 4, 6), (1, 2, 2)),
        (1, 4, 6),
    )
    assert memory.of(["b", "a"], [None, None]) == ((1, 2, 2), (1, 4, 6))
    assert memory.of(["a"], [cut(1, 8, 8)]) == ((1, 8, 8),), "cut again, otherwise"
    assert memory.of([], []) == ()


def test_the_longest_unseen_is_forgotten_and_then_its_prompt_is_left_to_another_try() -> None:
    memory = GridMemory(capacity=2)
    memory.of(["a", "b"], [cut(1, 2, 2), cut(1, 4, 4)])
    memory.of(["a", "c"], [None, cut(1, 6, 6)])
    assert memory.of(["a"], [None]) == ((1, 2, 2),)
    with pytest.raises(SamplingFailed, match="keeps image b, its grid is not known"):
        memory.of(["b"], [None])
