"""What the engine is started with."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from services.rollout.engine import request, sampler, start
from shared.wire.messages import SamplingSettings


@pytest.mark.slow  # imports vLLM
@pytest.mark.parametrize(
    ("device", "given", "expected"),
    [("cpu", None, None), ("cpu", 4096, 4096), ("cuda", None, 8192), ("cuda", 16_384, 16_384)],
)
def test_a_gpu_computes_8192_tokens_a_step_unless_told_otherwise(
    device: str, given: int | None, expected: int | None
) -> None:
    assert start.step_tokens(given, device) == expected


@pytest.mark.slow  # imports vLLM
def test_training_requests_are_not_decoded_token_by_token() -> None:
    settings = SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=2)
    assert not sampler.sampling_parameters(settings, n=1, seed=0).detokenize


class RecordingEngine:
    """Answers at once, and remembers the priorities it was given."""

    def __init__(self) -> None:
        self.priorities: list[int] = []

    async def generate(self, *_: object, priority: int) -> AsyncIterator[Any]:
        self.priorities.append(priority)
        yield SimpleNamespace(finished=True)


@pytest.mark.slow  # imports vLLM
@pytest.mark.anyio
async def test_a_request_carries_its_priority_and_an_evaluation_goes_first() -> None:
    engine: Any = RecordingEngine()
    parameters = sampler.sampling_parameters(
        SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=2), n=1, seed=0
    )
    await request.generate(engine, None, parameters, priority=7)
    await request.generate(engine, None, parameters)
    assert engine.priorities == [7, 0]
