"""Rewards over a whole group: agreement between orders, and custom functions."""

import itertools
import math

import numpy as np
import pytest

from services.reward.consistency import paired, share, unique_mode
from services.reward.group_rewards import GroupRewards
from services.reward.scoring import BadReward
from shared.config import RewardConfig
from shared.errors import UserError
from shared.permutation import all_orders, apply_order
from shared.records.answers import original_answer
from shared.sample import Sample
from shared.wire.messages import PromptTask, Reward, ScoredGroup, ScoredOrder
from tests.builders import batch, response, task

QUESTION = Sample(
    id="s",
    question="A. <image>\nB. <image>\nC. <image>\nWhich option shows a seven?",
    images=("a.png", "b.png", "c.png"),
    answer="B",
    kind="letter",
    order="letter",
)
FIRST = QUESTION.model_copy(
    update={
        "question": "<image><image><image> Which image shows a seven?",
        "answer": "second",
        "kind": "position",
        "order": "position",
    }
)
SORTED = FIRST.model_copy(
    update={
        "question": "<image><image><image> Sort the images by value.",
        "answer": "2, 3, 1",
        "kind": "order",
        "order": "order",
    }
)


def shown(sample: Sample, permutation: tuple[int, ...], index: int = 0) -> PromptTask:
    rendered = apply_order(sample, permutation)
    return task(
        question=rendered.question,
        images=rendered.images,
        answer=rendered.answer,
        kind=sample.kind,
        order=sample.order,
        fixed=sample.fixed,
        permutation=permutation,
        order_index=index,
    )


def group_of(*orders: tuple[PromptTask, list[str | None]]) -> ScoredGroup:
    """A group from what was extracted under each order; all totals are 0.5."""
    scored = []
    for asked, answers in orders:
        responses = tuple(response() for _ in answers)
        rewards = tuple(
            Reward(total=0.5, accuracy=0.0, format=1.0, extracted=one) for one in answers
        )
        answered = batch(images=asked.images).model_copy(
            update={"task": asked, "responses": responses}
        )
        scored.append(ScoredOrder(batch=answered, rewards=rewards, scored_s=0.0))
    return ScoredGroup(group_id="g-7", orders=tuple(scored))


@pytest.mark.parametrize("sample", [QUESTION, FIRST, SORTED], ids=lambda sample: sample.order)
def test_the_right_answer_means_the_same_under_every_order(sample: Sample) -> None:
    tasks = [shown(sample, permutation) for permutation in all_orders(3)]
    assert len({asked.answer for asked in tasks}) > 1
    assert len({original_answer(asked.answer, asked) for asked in tasks}) == 1


def test_the_same_letter_under_two_orders_names_two_images() -> None:
    for one, two in itertools.combinations(all_orders(3), 2):
        if one[0] != two[0]:
            assert original_answer("A", shown(QUESTION, one)) != original_answer(
                "A", shown(QUESTION, two)
            )


def test_ways_of_writing_an_answer_agree() -> None:
    moved = shown(QUESTION, (2, 0, 1))
    assert {original_answer(text, moved) for text in ("C", "(C)", "c.", "Option C")} == {1}


def test_agreement_is_the_share_of_the_other_orders_answers() -> None:
    # Under (1, 0, 2) the images at A and B are swapped: "A" there is the original B.
    group = group_of(
        (shown(QUESTION, (0, 1, 2)), ["B", "A", None]),
        (shown(QUESTION, (1, 0, 2), 1), ["A", "A", "C"]),
    )
    assert share(group) == pytest.approx([2 / 3, 0, 0, 1 / 3, 1 / 3, 0])


def test_a_group_of_one_order_has_nothing_to_agree_with() -> None:
    assert share(group_of((shown(QUESTION, (0, 1, 2)), ["B", "B"]))) == [0.0, 0.0]


def test_the_single_most_frequent_answer_of_all_orders_is_rewarded() -> None:
    # The original B: B in the first order, A in the second one.
    group = group_of(
        (shown(QUESTION, (0, 1, 2)), ["B", "A", None]),
        (shown(QUESTION, (1, 0, 2), 1), ["A", "A", "C"]),
    )
    assert unique_mode(group) == [1, -1, -1, 1, 1, -1]


@pytest.mark.parametrize("answers", [["A", "B"], [None, None]])
def test_without_a_single_most_frequent_answer_none_is_rewarded(answers: list) -> None:
    assert unique_mode(group_of((shown(QUESTION, (0, 1, 2)), answers))) == [-1, -1]


def test_a_right_answer_needs_its_counterparts_to_be_right() -> None:
    group = group_of(
        (shown(QUESTION, (0, 1, 2)), ["B", "B", "A"]),
        (shown(QUESTION, (1, 0, 2), 1), ["A", "C", "A"]),
    )
    rights = [(1, 1, 0), (1, 0, 1)]
    scored = tuple(
        order.model_copy(
            update={
                "rewards": tuple(
                    reward.model_copy(update={"accuracy": float(right)})
                    for reward, right in zip(order.rewards, right_ones, strict=True)
                )
            }
        )
        for order, right_ones in zip(group.orders, rights, strict=True)
    )
    assert paired(group.model_copy(update={"orders": scored})) == [0, -1, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("rule", "totals"), [("share", [0.5, 0.5]), ("unique_mode", [0.7, 0.3]), ("paired", [0.5] * 2)]
)
async def test_the_configuration_chooses_the_rule(rule: str, totals: list[float]) -> None:
    config = RewardConfig(consistency=rule, consistency_weight=0.2)
    group = group_of((shown(QUESTION, (0, 1, 2)), ["B", None]))
    assert (await GroupRewards(config).apply(group)).rewards() == pytest.approx(totals)


def doubled(group: ScoredGroup, config: RewardConfig) -> list[float]:
    """A custom group function."""
    return list(2 * group.rewards())


def too_short(group: ScoredGroup, config: RewardConfig) -> list[float]:
    """A group function with a mistake."""
    return [0.0]


async def test_consistency_comes_first_and_accuracy_stays() -> None:
    config = RewardConfig(consistency_weight=0.2, group_function=f"{__name__}:doubled")
    group = group_of(
        (shown(QUESTION, (0, 1, 2)), ["B", "A"]), (shown(QUESTION, (1, 0, 2), 1), ["A", "A"])
    )
    rewarded = await GroupRewards(config).apply(group)
    assert rewarded.rewards() == pytest.approx(2 * (0.5 + 0.2 * np.array([1, 0, 0.5, 0.5])))
    assert rewarded.score_sums()["accuracy"] == 0.0
    assert await GroupRewards(RewardConfig()).apply(group) == group


async def test_a_group_function_must_give_a_number_a_response() -> None:
    group = group_of((shown(QUESTION, (0, 1, 2)), ["B", "A"]))
    with pytest.raises(BadReward, match=r"too_short' returned \[0\.0\], not 2 finite numbers"):
        await GroupRewards(RewardConfig(group_function=f"{__name__}:too_short")).apply(group)


strange: list[object] = []


def returns_strange(group: ScoredGroup, config: RewardConfig) -> object:
    """A group function with another mistake."""
    return strange[-1]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([0.0, math.nan], "returned nan as reward 2 of 2, not a finite number"),
        ([math.inf, 0.0], "returned inf as reward 1 of 2, not a finite number"),
        ([0.0, -1e39], r"returned -1e\+39 as reward 2 of 2, not a finite number"),
        ([None, 0.0], "returned nan as reward 1 of 2, not a finite number"),
        (None, "returned None, not 2 finite numbers"),
        (["good", "bad"], "not 2 finite numbers"),
        ([[0.0], [1.0]], "not 2 finite numbers"),
        ({"a": 1}, "not 2 finite numbers"),
    ],
)
async def test_a_group_function_that_gives_no_numbers_is_named(given: object, why: str) -> None:
    strange.append(given)
    group = group_of((shown(QUESTION, (0, 1, 2)), ["B", "A"]))
    named = RewardConfig(group_function=f"{__name__}:returns_strange")
    with pytest.raises(BadReward, match=rf"^reward\.group_function '.*:returns_strange' .*{why}$"):
        await GroupRewards(named).apply(group)


def test_a_group_function_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"^reward\.group_function 'math:absent': math has no"):
        GroupRewards(RewardConfig(group_function="math:absent"))
