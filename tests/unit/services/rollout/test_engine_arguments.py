"""What the engine is started with."""

import pytest

from services.rollout.engine import sampler, start
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
