"""Sources are mixed by their weights, each in its own epochs, as a function of the group alone."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.plan.groups import GroupPlan
from services.trainer.plan.mixture import Mixture
from shared.config import Config
from shared.formats import SourceSize
from shared.sample import Sample

GROUPS = 400

SHARES = st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 40)), min_size=1, max_size=7).map(
    lambda pairs: [SourceSize(f"s{i}", weight, size) for i, (weight, size) in enumerate(pairs)]
)


def sources(mixture: Mixture, sizes: list[SourceSize], groups: int) -> list[int]:
    """The source of each of the first groups."""
    ends = [sum(share.size for share in sizes[: i + 1]) for i in range(len(sizes))]
    places = [mixture.place(index)[0] for index in range(groups)]
    return [next(i for i, end in enumerate(ends) if place < end) for place in places]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(SHARES, st.integers(0, 5))
def test_shares_hold_after_any_number_of_groups(sizes: list[SourceSize], seed: int) -> None:
    asked = sources(Mixture(sizes, seed, shuffle=True), sizes, GROUPS)
    total = sum(share.weight for share in sizes)
    counts = [0] * len(sizes)
    for groups, source in enumerate(asked, start=1):
        counts[source] += 1
        for count, share in zip(counts, sizes, strict=True):
            assert abs(count - groups * share.weight / total) < 1


@settings(derandomize=True, deadline=None, max_examples=30)
@given(SHARES, st.integers(0, 5), st.booleans())
def test_every_source_shows_each_sample_once_an_epoch(
    sizes: list[SourceSize], seed: int, shuffle: bool
) -> None:
    mixture = Mixture(sizes, seed, shuffle)
    asked = Counter(mixture.place(index) for index in range(GROUPS))
    assert set(asked.values()) == {1}
    start = 0
    for share in sizes:
        places = range(start, start + share.size)
        start += share.size
        epochs = Counter(epoch for place, epoch in asked if place in places)
        assert all(epochs[epoch] == share.size for epoch in range(max(epochs, default=0)))


@settings(derandomize=True, deadline=None, max_examples=30)
@given(SHARES, st.integers(0, 5), st.lists(st.integers(0, GROUPS), min_size=1, max_size=30))
def test_a_resumed_run_asks_the_same_wherever_it_goes_on(
    sizes: list[SourceSize], seed: int, indices: list[int]
) -> None:
    whole = Mixture(sizes, seed, shuffle=True)
    expected = [whole.place(index) for index in range(GROUPS + 1)]
    resumed = Mixture(sizes, seed, shuffle=True)
    assert [resumed.place(index) for index in indices] == [expected[index] for index in indices]


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_seed_and_the_epoch_decide_the_order_within_a_source(shuffle: bool) -> None:
    sizes = [SourceSize("a", 1.0, 20), SourceSize("b", 1.0, 20)]

    def epoch(seed: int, number: int, source: int) -> list[int]:
        mixture = Mixture(sizes, seed, shuffle)
        found = [mixture.place(index) for index in range(80)]
        first = 20 * source
        return [p - first for p, e in found if e == number and first <= p < first + 20]

    assert sorted(epoch(1, 0, 0)) == list(range(20))
    orders = [epoch(1, 0, 0), epoch(1, 1, 0), epoch(1, 0, 1), epoch(2, 0, 0)]
    assert len({tuple(one) for one in orders}) == (4 if shuffle else 1)


def test_the_plan_shows_each_sources_own_samples_and_epochs() -> None:
    samples = [
        Sample(id=f"{name}{number}", question="?", answer="1", kind="number", source=name)
        for name, count in (("text", 2), ("other", 5))
        for number in range(count)
    ]
    config = Config.model_validate(
        {
            "run": "r",
            "model": {"path": "m"},
            "data": {"train": "t.jsonl"},
            "trainer": {"steps": 10, "groups_per_step": 4},
        }
    )
    sizes = [SourceSize("text", 3.0, 2), SourceSize("other", 1.0, 5)]
    plan = GroupPlan(config, samples, sizes)

    asked = [plan.sample(index) for index in range(16)]

    for step in range(0, 16, 4):
        counts = Counter(sample.source for sample, _ in asked[step : step + 4])
        assert counts == {"text": 3, "other": 1}
    assert max(epoch for sample, epoch in asked if sample.source == "text") == 5
    assert max(epoch for sample, epoch in asked if sample.source == "other") == 0
    for index in range(16):
        sample, epoch = asked[index]
        begun = Mixture(sizes, config.seed, config.data.shuffle).epochs(index)
        assert begun[["text", "other"].index(sample.source)] == epoch
    assert all(plan.orders(index) == [()] * 2 for index in range(4))
