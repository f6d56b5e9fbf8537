"""The arithmetic of `bench.overlap`: the mean step against the longer stage, by side."""

import pytest

from bench.overlap import Round, table


def one(side: str, together_s: float, sampling_s: float = 2.0, training_s: float = 1.0) -> Round:
    return Round(side, 1, sampling_s, training_s, together_s, 0.5)


def test_a_step_is_compared_with_the_longer_of_the_stages():
    assert one("this", 2.2).ratio == pytest.approx(1.1)
    assert one("this", 3.0, sampling_s=1.0, training_s=2.5).ratio == pytest.approx(1.2)


def test_the_table_has_medians_and_the_range_of_each_side():
    rounds = [one("this", 2.2), one("before", 3.0), one("this", 2.6), one("this", 2.4)]
    _, this, before = table(rounds)
    assert " ".join(this.split()) == "this 2.00 s 1.00 s 2.40 s 1.20 (1.10 to 1.30)"
    assert before.endswith("1.50 (1.50 to 1.50)")
