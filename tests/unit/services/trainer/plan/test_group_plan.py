"""What the feeder asks depends on the seed and the group's number alone."""

import pytest

from services.reward.assembly import details
from services.trainer.plan.groups import GroupPlan, group_id
from shared.config import Config
from shared.sample import Sample
from shared.wire.messages import PolicyVersion
from tests.builders import response

VERSION = PolicyVersion(incarnation=1, step=0)


def _config(**changes):
    settings = {
        "run": "test",
        "seed": 1,
        "model": {"path": "model"},
        "data": {"train": "train.jsonl"},
        "permutation": {"n_s": 1, "schedule": "constant"},
        "trainer": {"steps": 10, "groups_per_step": 4},
    }
    return Config.model_validate(settings | changes)


def _samples(count=6, images=3):
    names = [f"{index}.png" for index in range(images)]
    return [
        Sample(
            id=f"s{number}",
            question="<image>" * images,
            images=tuple(f"{number}-{name}" for name in names),
            answer="A",
            kind="letter",
            order="letter",
        )
        for number in range(count)
    ]


@pytest.fixture
def names():
    return {image: f"sha-{image}" for sample in _samples() for image in sample.images}


def test_every_epoch_shows_each_sample_once_in_another_order():
    plan = GroupPlan(_config(), _samples())

    epochs = [[plan.sample(6 * epoch + i)[0].id for i in range(6)] for epoch in range(3)]

    assert all(sorted(epoch) == [f"s{i}" for i in range(6)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_group_is_the_same_whenever_it_is_asked_for(names):
    forward = GroupPlan(_config(), _samples())
    tasks = [forward.tasks(index, 0.0, names, VERSION) for index in range(20)]

    again = GroupPlan(_config(), _samples())

    assert [again.tasks(index, 0.0, names, VERSION) for index in reversed(range(20))] == tasks[::-1]


def test_another_seed_asks_something_else(names):
    one = GroupPlan(_config(), _samples())
    other = GroupPlan(_config(seed=2), _samples())

    assert [one.sample(i)[0].id for i in range(12)] != [other.sample(i)[0].id for i in range(12)]
    assert {one.tasks(i, 0.0, names, VERSION)[0].seed for i in range(6)}.isdisjoint(
        {other.tasks(i, 0.0, names, VERSION)[0].seed for i in range(6)}
    )


def test_orders_differ_within_a_group_and_the_first_is_the_original():
    plan = GroupPlan(_config(permutation={"n_s": 3, "schedule": "constant"}), _samples())

    for index in range(30):
        orders = plan.orders(index, 0.0)
        assert orders[0] == (0, 1, 2)
        assert len(set(orders)) == 4


def test_two_epochs_draw_different_orders():
    plan = GroupPlan(_config(), _samples(images=5))
    first = {plan.sample(i)[0].id: plan.orders(i, 0.0) for i in range(6)}
    second = {plan.sample(i)[0].id: plan.orders(i, 0.0) for i in range(6, 12)}

    assert first != second


def test_too_few_orders_are_repeated_in_turn():
    plan = GroupPlan(_config(permutation={"n_s": 3, "schedule": "constant"}), _samples(images=2))

    assert plan.orders(0, 0.0) == [(0, 1), (1, 0), (0, 1), (1, 0)]


def test_a_sample_that_must_not_be_permuted_keeps_its_order():
    samples = [sample.model_copy(update={"order": None}) for sample in _samples()]
    plan = GroupPlan(_config(), samples)

    assert all(plan.orders(index, 0.0) == [(0, 1, 2)] * 2 for index in range(6))


def test_the_answer_and_the_images_move_together(names):
    plan = GroupPlan(_config(), _samples())
    original, permuted = plan.tasks(0, 0.0, names, VERSION)

    shown = permuted.images.index(original.images[0])
    assert permuted.answer == "ABC"[shown]
    assert original.answer == "A"
    assert {task.group_id for task in (original, permuted)} == {group_id(0)}


def test_permuting_becomes_rarer_over_the_run():
    plan = GroupPlan(_config(permutation={"n_s": 1, "schedule": "linear"}), _samples())

    assert plan.permute_probability(0.0) == 1.0
    assert plan.permute_probability(0.5) == 0.5
    assert plan.permute_probability(1.0) == 0.0


def test_a_cosine_falls_slowly_at_both_ends():
    schedule = {"n_s": 1, "schedule": "cosine", "alpha": 0.8}
    plan = GroupPlan(_config(permutation=schedule), _samples())

    assert plan.permute_probability(0.0) == 0.8
    assert plan.permute_probability(0.1) == pytest.approx(0.8 * 0.975528, abs=1e-6)
    assert plan.permute_probability(0.5) == pytest.approx(0.4)
    assert plan.permute_probability(1.0) == pytest.approx(0.0)


def test_the_reward_hears_of_a_samples_tolerance():
    sample = Sample(id="n", question="?", answer="100", kind="number", tolerance=0.02)
    (task,) = GroupPlan(_config(permutation={"n_s": 0}), [sample]).tasks(0, 0.0, {}, VERSION)
    given = response(text="\\boxed{101}")

    assert task.tolerance == details(task, given).tolerance == 0.02
    assert details(task.model_copy(update={"tolerance": None}), given).tolerance is None
