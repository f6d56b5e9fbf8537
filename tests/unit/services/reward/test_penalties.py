"""What length takes off a reward: numbers by hand, properties of the formulas, who needs what."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from perl_rl.cli.main import main
from services.reward.app import create_app
from services.reward.metrics import Metrics
from services.reward.penalties import Details, MissingDetail, length_penalty, overlong_penalty
from services.reward.scoring import RewardContext, Scorer
from shared.config import RewardConfig
from shared.config.connections import SecurityConfig
from shared.config.reward import LengthPenaltyConfig, OverlongConfig
from shared.wire.messages import PromptTask, Reward

RIGHT = r"<think></think>\boxed{B}"
OVERLONG = {"buffer_tokens": 4, "penalty": 0.5}
LENGTH = {"start_tokens": 10, "per_token": 0.01, "most": 0.25}


class NoExpressions:
    """Letters need no grader process."""

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        raise AssertionError(f"asked about {pairs}")


def scorer(**settings: Any) -> Scorer:
    return Scorer(RewardConfig.model_validate(settings), NoExpressions())


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, 0), (4096, 0), (4097, -1 / 4096), (6144, -0.5), (8191, -4095 / 4096), (8192, -1)],
)
def test_overlong_by_hand(tokens: int, expected: float) -> None:
    config = OverlongConfig(buffer_tokens=4096)
    assert overlong_penalty(config, tokens, 8192) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("tokens", "expected"), [(0, 0), (10, 0), (11, -0.01), (30, -0.2), (35, -0.25), (900, -0.25)]
)
def test_length_by_hand(tokens: int, expected: float) -> None:
    config = LengthPenaltyConfig.model_validate(LENGTH)
    assert length_penalty(config, tokens) == pytest.approx(expected, abs=1e-12)


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(0, 12_000),
    st.floats(0.01, 10),
)
@settings(derandomize=True)
def test_overlong_is_dapos_formula(spare: int, buffer: int, tokens: int, factor: float) -> None:
    longest = spare + buffer
    config = OverlongConfig(buffer_tokens=buffer, penalty=factor)
    got = overlong_penalty(config, tokens, longest)
    if tokens <= longest - buffer:
        expected = 0.0
    elif tokens <= longest:
        expected = ((longest - buffer) - tokens) / buffer
    else:
        expected = -1.0
    assert got == pytest.approx(factor * expected)
    assert overlong_penalty(config, tokens + 1, longest) <= got


@given(st.integers(0, 5000), st.floats(1e-6, 1), st.floats(0.01, 5), st.integers(0, 9000))
@settings(derandomize=True)
def test_length_is_bounded_and_falls(start: int, price: float, most: float, tokens: int) -> None:
    config = LengthPenaltyConfig(start_tokens=start, per_token=price, most=most)
    got = length_penalty(config, tokens)
    assert -most <= length_penalty(config, tokens + 1) <= got <= 0
    assert (got == 0) == (tokens <= start)


async def test_both_are_added_to_the_reward() -> None:
    shaped = scorer(overlong=OVERLONG, length_penalty=LENGTH)
    got = await shaped.score(RIGHT, "B", "letter", details=Details(tokens=14, max_tokens=16))
    assert got.penalty == pytest.approx(-0.25 - 0.04)
    assert got.total == pytest.approx(1 - 0.29)
    assert (got.accuracy, got.format) == (1.0, 1.0)
    free = await shaped.score(RIGHT, "B", "letter", details=Details(tokens=10, max_tokens=16))
    assert (free.total, free.penalty) == (1.0, 0.0)


async def test_a_length_that_is_not_known_is_no_length_of_zero() -> None:
    with pytest.raises(MissingDetail, match=r"reward\.length_penalty needs it") as caught:
        await scorer(length_penalty=LENGTH).score(RIGHT, "B", "letter")
    assert caught.value.field == "tokens"
    with pytest.raises(MissingDetail, match=r"reward\.overlong needs it") as caught:
        await scorer(overlong=OVERLONG).score(RIGHT, "B", "letter", details=Details(tokens=3))
    assert caught.value.field == "max_tokens"


def own(
    response: str, gold: str, kind: str, task: PromptTask | None, context: RewardContext
) -> Reward:
    """A reward function of the user's: the share of tokens that is left."""
    details = context.details
    assert details.tokens is not None and details.max_tokens is not None
    left = 1 - details.tokens / details.max_tokens
    return Reward(total=left, accuracy=0, format=0, penalty=-0.5, extracted=None)


async def test_a_function_of_ones_own_gets_the_details_and_is_shaped_too() -> None:
    details = Details(tokens=12, max_tokens=16)
    path = f"{__name__}:own"
    assert (await scorer(function=path).score("", "", "text", details=details)).total == 0.25
    shaped = scorer(function=path, length_penalty=LENGTH)
    got = await shaped.score("", "", "text", details=details)
    assert (got.total, got.penalty) == (pytest.approx(0.23), pytest.approx(-0.52))


async def test_the_route_takes_tokens_and_tolerance() -> None:
    config = RewardConfig.model_validate({"overlong": OVERLONG})
    app = create_app(
        config,
        SecurityConfig(),
        Scorer(config, NoExpressions(), max_tokens=16),
        Metrics(),
        lambda: True,
    )
    transport = httpx.ASGITransport(app)
    item = {"response": r"\boxed{3.1}", "answer": "3", "kind": "number", "tokens": 16}
    async with httpx.AsyncClient(transport=transport, base_url="http://reward") as client:
        close = [item, item | {"tolerance": 0.05}, item | {"tolerance": 0.05, "max_tokens": 64}]
        scores = (await client.post("/score", json=close)).json()
        assert [one["reward"] for one in scores] == [-0.5, pytest.approx(0.4), 0.9]
        assert [one["penalty"] for one in scores] == [-0.5, -0.5, 0.0]
        del item["tokens"]
        refused = await client.post("/score", json=[item])
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith("item 0, field 'tokens': must be there")
        refused = await client.post("/score", json=[item | {"tolerance": -1}])
        assert refused.status_code == 422


def test_the_command_scores_as_a_run_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run.yaml"
    fields = {"run": "r", "model": {"path": "m"}, "data": {"train": "t"}, "trainer": {}}
    run.write_text(
        yaml.safe_dump(fields | {"sampling": {"max_tokens": 16}, "reward": {"overlong": OVERLONG}})
    )
    file = tmp_path / "answers.jsonl"
    row = {"response": RIGHT, "answer": "B", "kind": "letter", "tokens": 14, "id": 3}
    file.write_text(json.dumps(row))
    command = ["score", str(file), "--config", str(run)]
    assert main(command) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["penalty"], shown["reward"], shown["id"]) == (-0.25, 0.75, 3)
    assert main([*command, "--set", "reward.overlong=null"]) == 0
    assert json.loads(capsys.readouterr().out)["reward"] == 1.0
    file.write_text(json.dumps(row | {"tokens": "many"}))
    assert main(command) == 2
    assert "line 1, field 'tokens': must be a whole number" in capsys.readouterr().err
    assert main([*command, "--set", "reward.overlong.buffer_tokens=17"]) == 2
    said = capsys.readouterr().err
    assert "reward.overlong.buffer_tokens (17) must not be more than sampling.max_tokens" in said
