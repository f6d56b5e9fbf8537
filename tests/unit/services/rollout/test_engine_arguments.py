"""What the engine is started with."""

import pytest

from services.rollout.engine import sampler, start
from shared.config import Config
from shared.wire.messages import SamplingSettings


def config(**engine: object) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": "m"},
            "data": {"train": "t"},
            "rollout": {"engine": engine},
            "trainer": {},
        }
    )


@pytest.mark.slow  # imports vLLM
@pytest.mark.parametrize(
    ("on_cpu", "given", "expected"),
    [(True, None, None), (True, 4096, 4096), (False, None, 8192), (False, 16_384, 16_384)],
)
def test_a_gpu_computes_8192_tokens_a_step_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, on_cpu: bool, given: int | None, expected: int | None
) -> None:
    monkeypatch.setattr(type(start.current_platform), "is_cpu", lambda _: on_cpu)
    arguments = start.engine_args(config(max_num_batched_tokens=given))
    assert arguments.max_num_batched_tokens == expected


@pytest.mark.slow  # imports vLLM
def test_training_requests_are_not_decoded_token_by_token() -> None:
    settings = SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=2)
    assert not sampler.sampling_parameters(settings, n=1, seed=0).detokenize
