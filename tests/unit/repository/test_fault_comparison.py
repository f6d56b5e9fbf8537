"""Whether a run that was hurt has learnt as well: the comparison of two policies' answers."""

import random

import pytest

from perl_rl.eval.robustness import ItemAnswers, OrderAnswer
from shared.sample import Sample
from tests.faults.real import compare

SAMPLE = Sample(
    id="s", question="<image><image> Which?", images=("a.png", "b.png"), answer="A", kind="letter"
)


def answers(accuracy: float, seed: int) -> list[ItemAnswers]:
    """240 questions in two orders, each answer right with this probability."""
    rng = random.Random(seed)
    orders = ((0, 1), (1, 0))
    return [
        ItemAnswers(
            SAMPLE, tuple(OrderAnswer(order, "A", rng.random() < accuracy) for order in orders)
        )
        for _ in range(240)
    ]


@pytest.mark.parametrize(("accuracy", "expected"), [(0.9, False), (0.88, False), (0.7, True)])
def test_only_a_gap_beyond_the_noise_is_worse(accuracy: float, expected: bool) -> None:
    table, worse = compare(answers(0.9, 1), answers(accuracy, 2))
    assert worse is expected
    assert "all orders of 240 questions" in table
    [difference] = [line for line in table.splitlines() if line.startswith("difference")]
    assert "[" in difference


def test_equal_runs_differ_by_nothing() -> None:
    table, worse = compare(answers(0.9, 1), answers(0.9, 1))
    assert not worse
    assert "difference" in table and "+0.000" in table
    # What two undisturbed runs differ stays.
    assert "[-0.033, +0.033]" in table
