"""The reward, how a custom reward function is loaded, and the filters of groups."""

import sys
from pathlib import Path

import pytest

from services.reward.filters import (
    accuracy_out_of_bounds,
    build_filters,
    reason_to_drop,
    uniform_reward,
)
from services.reward.scoring import BadReward, FunctionFailed, Scorer
from shared.config import FilterConfig, RewardConfig
from shared.wire.messages import Reward, ScoredGroup, ScoredOrder
from tests.builders import batch, reward, task


class NoExpressions:
    """Letters need no grader process."""

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        raise AssertionError(f"asked about {pairs}")


def scorer(**settings: object) -> Scorer:
    return Scorer(RewardConfig(**settings), NoExpressions())


@pytest.mark.parametrize(
    ("response", "total", "accuracy", "form", "extracted"),
    [
        (r"<think>so</think>\boxed{B}", 1.0, 1.0, 1.0, "B"),
        (r"<think>so</think>\boxed{(B) cat}", 1.0, 1.0, 1.0, "(B) cat"),
        (r"\boxed{B}", 0.9, 1.0, 0.0, "B"),
        (r"<think>so</think>\boxed{A}", 0.1, 0.0, 1.0, "A"),
        (r"<think>\boxed{B}</think>", 0.9, 1.0, 0.0, "B"),
        ("The answer is (B).", 0.0, 0.0, 0.0, None),
        ("", 0.0, 0.0, 0.0, None),
    ],
)
async def test_accuracy_and_format(
    response: str, total: float, accuracy: float, form: float, extracted: str | None
) -> None:
    got = await scorer().score(response, "B", "letter")
    assert got == Reward(total=total, accuracy=accuracy, format=form, extracted=extracted)


async def test_the_weights_are_configurable() -> None:
    weighted = scorer(accuracy_weight=0.5, format_weight=0.25)
    got = await weighted.score(r"<think></think>\boxed{B}", "B", "letter")
    assert got.total == 0.75


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's, with reward functions of several shapes."""
    (tmp_path / "own_rewards.py").write_text(
        "from shared.wire.messages import Reward\n"
        "def length(response, gold, kind, task, context):\n"
        "    total = len(response) * context.config.accuracy_weight\n"
        "    return Reward(total=total, accuracy=0, format=0, extracted=task.group_id)\n"
        "async def waits(response, gold, kind, task, context):\n"
        "    return Reward(total=2, accuracy=0, format=0, extracted=gold + kind)\n"
        "class Judge:\n"
        "    async def __call__(self, response, gold, kind, task, context):\n"
        "        return Reward(total=3, accuracy=0, format=0, extracted=None)\n"
        "judge = Judge()\n"
        "def number(response, gold, kind, task, context):\n"
        "    return 1.0\n"
        "constant = 3\n"
        "def by_name(response, gold, kind, task, context):\n"
        "    numbers = {'total': 0, 'accuracy': 0, 'format': 0} | eval(response)\n"
        "    return Reward(**numbers, extracted=None)\n"
        "def unchecked(response, gold, kind, task, context):\n"
        "    numbers = {'total': 0, 'accuracy': 0, 'format': 0} | eval(response)\n"
        "    return Reward.model_construct(**numbers, extracted=None)\n"
        "def missing(response, gold, kind, task, context):\n"
        "    return Reward(accuracy=0, format=0, extracted=None)\n"
        "def nothing_at_all(response, gold, kind, task, context):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_rewards", raising=False)
    return "own_rewards"


async def test_a_plain_function_gets_everything(own_module: str) -> None:
    got = await scorer(function=f"{own_module}:length").score("1234", "B", "letter", task())
    assert (got.total, got.extracted) == (3.6, "g-7")


async def test_an_asynchronous_function_and_a_callable_object(own_module: str) -> None:
    got = await scorer(function=f"{own_module}:waits").score("", "B", "letter")
    assert (got.total, got.extracted) == (2, "Bletter")
    assert (await scorer(function=f"{own_module}:judge").score("", "B", "letter")).total == 3


async def test_a_function_that_returns_no_reward_is_named(own_module: str) -> None:
    with pytest.raises(FunctionFailed, match=r"'own_rewards:number' returned float, not"):
        await scorer(function=f"{own_module}:number").score("", "B", "letter")


@pytest.mark.parametrize("function", ["by_name", "unchecked"])
@pytest.mark.parametrize("field", ["total", "accuracy", "format", "penalty"])
@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "-1e39", "None"])
async def test_a_reward_that_is_no_number_is_refused(
    own_module: str, function: str, field: str, value: str
) -> None:
    message = (
        rf"^reward\.function 'own_rewards:{function}' returned a Reward whose field '{field}' "
        r"must be (a finite number|a number|at (most|least) -?3\.40282e\+38) \(got \S+\)$"
    )
    with pytest.raises(BadReward, match=message):
        await scorer(function=f"{own_module}:{function}").score(
            f"{{'{field}': {value}}}", "B", "letter"
        )


async def test_a_reward_that_is_missing_is_refused(own_module: str) -> None:
    with pytest.raises(BadReward, match="missing' returned a Reward whose field 'total' is miss"):
        await scorer(function=f"{own_module}:missing").score("", "B", "letter")
    with pytest.raises(BadReward, match="returned NoneType, not shared"):
        await scorer(function=f"{own_module}:nothing_at_all").score("", "B", "letter")


@pytest.mark.parametrize("weight", ["accuracy_weight", "format_weight"])
def test_the_built_in_reward_has_finite_weights(weight: str) -> None:
    with pytest.raises(ValueError, match="finite number"):
        RewardConfig(**{weight: float("nan")})


def group(*totals: float) -> ScoredGroup:
    """A group of one order for each two rewards."""
    orders = tuple(
        ScoredOrder(
            batch=batch(order_index=index),
            rewards=(reward(totals[2 * index]), reward(totals[2 * index + 1])),
            scored_s=0.0,
        )
        for index in range(len(totals) // 2)
    )
    return ScoredGroup(group_id="g-7", orders=orders)


def test_uniform_rewards_carry_no_signal() -> None:
    assert uniform_reward(group(1, 1, 1, 1)) == "uniform_reward"
    assert uniform_reward(group(0.1, 0.1, 0.1, 0.1)) == "uniform_reward"
    assert uniform_reward(group(1, 1, 1, 0.9)) is None


def test_orders_that_differ_among_themselves_only_are_kept() -> None:
    # Each order alone is uniform, the pooled group is not: PeRL compares across orders.
    assert uniform_reward(group(1, 1, 0, 0)) is None


@pytest.mark.parametrize(
    ("totals", "reason"),
    [
        ((1, 1, 1, 1), "accuracy_out_of_bounds"),
        ((1, 1, 1, 0), None),
        ((1, 0, 0, 0), None),
        ((0, 0, 0, 0), "accuracy_out_of_bounds"),
    ],
)
def test_accuracy_bounds_are_inclusive(totals: tuple[float, ...], reason: str | None) -> None:
    assert accuracy_out_of_bounds(0.25, 0.75)(group(*totals)) == reason


def test_filters_follow_the_configuration() -> None:
    uniform, easy = group(0, 0), group(1, 1, 1, 0)
    none = build_filters(FilterConfig(drop_uniform=False))
    assert reason_to_drop(uniform, none) is None
    default = build_filters(FilterConfig())
    assert reason_to_drop(uniform, default) == "uniform_reward"
    assert reason_to_drop(easy, default) is None
    bounded = build_filters(FilterConfig(max_accuracy=0.5))
    assert reason_to_drop(uniform, bounded) == "uniform_reward"
    assert reason_to_drop(easy, bounded) == "accuracy_out_of_bounds"
    lower = build_filters(FilterConfig(drop_uniform=False, min_accuracy=0.1))
    assert reason_to_drop(uniform, lower) == "accuracy_out_of_bounds"
