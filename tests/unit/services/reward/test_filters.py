"""Which groups the reward service drops, and for which reason."""

import pytest

from services.reward.filters import build_filters, reason_to_drop
from shared.config import FilterConfig
from shared.errors import UserError
from shared.wire.messages import ScoredGroup, ScoredOrder
from tests.builders import batch, response, reward


def group_of(*orders: list[tuple[float, str, str]]) -> ScoredGroup:
    """A group from (reward, text, finish reason) for each response of each order."""
    scored = []
    for index, answers in enumerate(orders):
        responses = tuple(
            response(text=text).model_copy(update={"finish_reason": end})
            for _, text, end in answers
        )
        scored.append(
            ScoredOrder(
                batch=batch(order_index=index).model_copy(update={"responses": responses}),
                rewards=tuple(reward(total) for total, _, _ in answers),
                scored_s=0.0,
            )
        )
    return ScoredGroup(group_id="g-7", orders=tuple(scored))


def named_by_sample(group: ScoredGroup) -> str | None:
    """A custom filter."""
    return (
        "second_order_hopeless" if max(one.total for one in group.orders[1].rewards) == 0 else None
    )


def returns_a_flag(group: ScoredGroup) -> bool:
    """A mistake: filters give reasons."""
    return len(group.orders) == 2


GROUP = group_of(
    [(1.0, "a", "stop"), (1.0, "a", "stop")],
    [(0.0, "b", "length"), (0.0, "c", "stop")],
)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, None),
        ({"min_std": 0.5}, None),
        ({"min_std": 0.51}, "too_little_spread"),
        ({"max_truncated": 0.25}, None),
        ({"max_truncated": 0.24}, "truncated"),
        ({"min_distinct": 0.75}, None),
        ({"min_distinct": 0.76}, "too_few_distinct"),
        ({"min_accuracy": 0.51}, "accuracy_out_of_bounds"),
        ({"functions": [f"{__name__}:named_by_sample"]}, "second_order_hopeless"),
        (
            {"max_truncated": 0.0, "functions": [f"{__name__}:named_by_sample"]},
            "truncated",
        ),
    ],
)
def test_a_group_is_dropped_for_the_first_reason(
    settings: dict[str, object], reason: str | None
) -> None:
    assert reason_to_drop(GROUP, build_filters(FilterConfig.model_validate(settings))) == reason


def test_uniform_rewards_are_dropped_unless_told_otherwise() -> None:
    alike = group_of([(1.0, "a", "stop")], [(1.0, "b", "stop")])
    assert reason_to_drop(alike, build_filters(FilterConfig())) == "uniform_reward"
    assert reason_to_drop(alike, build_filters(FilterConfig(drop_uniform=False))) is None


def test_a_filter_that_is_not_there_is_named() -> None:
    config = FilterConfig(functions=("tests.unit.services.reward.test_filters:absent",))
    with pytest.raises(UserError, match=r"^reward\.filter\.functions '.*:absent': .* no function"):
        build_filters(config)


def test_a_filter_that_gives_no_reason_is_refused() -> None:
    filters = build_filters(FilterConfig(functions=(f"{__name__}:returns_a_flag",)))
    with pytest.raises(TypeError, match="returned True, no reason or None"):
        reason_to_drop(GROUP, filters)


def test_rewards_alike_within_each_order_say_nothing_when_orders_are_not_compared():
    right, wrong = (1.0, "a", "stop"), (0.0, "b", "stop")
    group = group_of([right, right], [wrong, wrong])

    assert reason_to_drop(group, build_filters(FilterConfig())) is None
    own = build_filters(FilterConfig(), per_order=True)
    assert reason_to_drop(group, own) == "uniform_reward"
    assert reason_to_drop(group_of([right, wrong], [wrong, wrong]), own) is None
