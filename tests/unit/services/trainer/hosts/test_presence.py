"""A worker host does not take a count that an ended trainer has left for a running trainer."""

import pytest

from services.trainer.hosts.presence import Presence
from shared.errors import UserError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def presence(clock: Clock) -> Presence:
    return Presence("trainer join --host 1", 60.0, clock)


def test_a_count_that_stands_is_no_answer(presence, clock):
    for clock.now in (100.0, 130.0, 159.0):
        presence.see(7)
        assert not presence.answers
    clock.now = 161.0
    with pytest.raises(UserError, match=r"--host 1: waited 60\.0 s for the trainer on host 0 .*"):
        presence.see(7)


@pytest.mark.parametrize("then", [8, 1], ids=["counts on", "starts over in an empty Redis"])
def test_a_count_that_changes_is_an_answer_for_a_while(presence, clock, then):
    presence.see(7)
    clock.now = 150.0
    presence.see(then)
    assert presence.answers
    clock.now = 170.0
    presence.see(then)
    assert not presence.answers
    clock.now = 209.0
    presence.see(then)
    clock.now = 211.0
    with pytest.raises(UserError, match=r"trainer\.start_timeout_s"):
        presence.see(then)
