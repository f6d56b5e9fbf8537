"""Restarts are limited in a window of time, so that a long run survives any number of deaths."""

from perl_rl.launch.restarts import Restarts


def test_deaths_in_quick_succession_are_too_many_and_rare_ones_are_not() -> None:
    now = [0.0]
    restarts = Restarts(2, 60.0, clock=lambda: now[0])
    assert restarts.allowed("a")
    assert restarts.allowed("a")
    assert not restarts.allowed("a")
    assert restarts.allowed("b"), "each service has its own limit"
    assert "2 restarts within 60 s" in restarts.refusal("a")
    for now[0] in (61.0, 122.0, 183.0, 244.0):
        assert restarts.allowed("a")
    assert restarts.total == {"a": 6, "b": 1}


def test_none_are_allowed_when_none_are_asked_for() -> None:
    assert not Restarts(0, 60.0).allowed("a")
