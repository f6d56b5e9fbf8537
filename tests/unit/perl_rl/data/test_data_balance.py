"""Balance: the target is met, nothing is drawn twice, and the seed decides."""

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perl_rl.data.balance import choose
from perl_rl.data.config import BalanceSettings
from perl_rl.data.histogram import PAPER, TENTHS, bin_of, histogram, mean
from shared.errors import UserError

DETERMINED = settings(derandomize=True, max_examples=150, deadline=None)
WEIGHTS = st.lists(st.integers(0, 20), min_size=11, max_size=11).filter(any)
COUNTS = st.lists(st.integers(1, 60), min_size=11, max_size=11)


def rates_of(counts: list[int]) -> list[float]:
    rates = [tenth / 10 for tenth, count in enumerate(counts) for _ in range(count)]
    random.Random(0).shuffle(rates)
    return rates


def shares_of(weights: list[int]) -> list[Fraction]:
    return [Fraction(weight, sum(weights)) for weight in weights]


@DETERMINED
@given(COUNTS, WEIGHTS, st.integers(0, 5))
def test_every_bin_has_its_share_to_within_one(
    counts: list[int], weights: list[int], seed: int
) -> None:
    rates = rates_of(counts)
    target = BalanceSettings(target=dict(zip(TENTHS, weights, strict=True)))
    shares = shares_of(weights)
    most = min(int(count / share) for count, share in zip(counts, shares, strict=True) if share)
    if most == 0:
        return
    chosen, reasons = choose(rates, target, random.Random(seed))
    assert chosen == sorted(set(chosen))
    assert len(chosen) == most and len(reasons) == len(rates) - most
    for share, count in zip(
        shares, histogram([rates[i] for i in chosen], TENTHS).values(), strict=True
    ):
        assert abs(count - most * share) < 1
    # One more would overdraw the scarcest bin.
    with pytest.raises(UserError, match=f"that allows {most} samples?"):
        choose(rates, target.model_copy(update={"size": most + 1}), random.Random(seed))


@DETERMINED
@given(COUNTS, WEIGHTS, st.integers(1, 400), st.integers(0, 5))
def test_a_shortfall_takes_what_there_is(
    counts: list[int], weights: list[int], size: int, seed: int
) -> None:
    rates = rates_of(counts)
    target = BalanceSettings(
        target=dict(zip(TENTHS, weights, strict=True)), size=size, shortfall=True
    )
    chosen, _ = choose(rates, target, random.Random(seed))
    found = histogram([rates[index] for index in chosen], TENTHS).values()
    for count, share, got in zip(counts, shares_of(weights), found, strict=True):
        assert got == count if count < int(size * share) else abs(got - size * share) <= 1


def test_the_seed_decides() -> None:
    rates = rates_of([40] * 11)
    first, again, other = (
        choose(rates, BalanceSettings(), random.Random(seed))[0] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_papers_preset_brings_the_mean_down_to_its_own() -> None:
    # Many easy questions, as the paper starts from: mean accuracy 0.78.
    counts = [300, 300, 400, 450, 500, 600, 700, 1000, 1500, 2500, 5200]
    rates = rates_of(counts)
    before = mean(rates)
    chosen, reasons = choose(rates, BalanceSettings(), random.Random(0))
    kept = [rates[index] for index in chosen]
    after = mean(kept)
    assert before is not None and 0.76 < before < 0.80
    assert after is not None and abs(after - 0.38) < 0.005
    assert set(reasons) == {"bin_full"}
    for (_, weight), count in zip(PAPER.items(), histogram(kept, TENTHS).values(), strict=True):
        assert abs(count - len(kept) * weight / 100) < 1
    assert sum(PAPER.values()) == 100


def test_drop_0_and_1_keeps_the_others() -> None:
    rates = [0.0, 0.5, 1.0, 0.1, 0.9, 0.0]
    drop = BalanceSettings(target="drop-0-and-1")
    chosen, reasons = choose(rates, drop, random.Random(0))
    assert chosen == [1, 3, 4]
    assert Counter(reasons) == {"never_right": 2, "always_right": 1}
    two, reasons = choose(rates, drop.model_copy(update={"size": 2}), random.Random(0))
    assert len(two) == 2 and Counter(reasons)["size_reached"] == 1


def test_an_empty_bin_is_named() -> None:
    with pytest.raises(UserError, match=r"0 of 2 samples have a pass rate in the bin \(0.1, 0.2\]"):
        choose([0.0, 0.1], BalanceSettings(), random.Random(0))


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.0, 0), (0.05, 1), (1 / 10, 1), (3 / 10, 3), (15 / 16, 10), (1.0, 10)]
)
def test_bins_close_at_their_upper_edge(rate: float, expected: int) -> None:
    assert bin_of(rate, TENTHS) == expected
