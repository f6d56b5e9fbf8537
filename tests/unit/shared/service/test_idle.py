"""A clock that measures how long nothing was in hand."""

import pytest

from shared.service.idle import IdleClock


class Hand:
    """A clock's hand that the test moves."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_time_counts_from_the_first_work_on() -> None:
    hand = Hand()
    clock = IdleClock(hand)
    hand.at += 50
    assert clock.seconds() == (0.0, 0.0)
    with clock.work():
        hand.at += 4
        assert clock.seconds() == (0.0, 4.0)
    hand.at += 3
    assert clock.seconds() == (3.0, 7.0)


def test_overlapping_work_is_idle_only_between() -> None:
    hand = Hand()
    clock = IdleClock(hand)
    first, second = clock.work(), clock.work()
    first.__enter__()
    hand.at += 1
    second.__enter__()
    hand.at += 1
    first.__exit__(None, None, None)
    hand.at += 1
    assert (clock.working, clock.seconds()) == (1, (0.0, 3.0))
    second.__exit__(None, None, None)
    hand.at += 2
    with clock.work():
        hand.at += 1
        assert clock.seconds() == (2.0, 6.0)


def test_work_that_fails_ends() -> None:
    clock = IdleClock(Hand())
    with pytest.raises(OSError), clock.work():
        raise OSError
    assert clock.working == 0
