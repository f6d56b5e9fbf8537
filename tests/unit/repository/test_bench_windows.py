"""The arithmetic of `bench.elastic_nodes`: node-seconds, rates by node, and their ratio."""

import pytest

from bench.windows import Presence, Window, mean_nodes, per_node, per_second, ratio


def test_nodes_are_counted_by_the_time_they_are_there():
    now = 100.0
    presence = Presence(lambda: now)
    now = 110.0
    presence.change(2)
    now = 115.0
    presence.change(-1)
    now = 135.0
    assert presence.now == 1
    assert presence.node_s() == pytest.approx(2 * 5 + 1 * 20)


def test_rates_are_by_node_and_not_by_window():
    seen = [Window(30.0, 300.0, 60), Window(30.0, 900.0, 180)]
    assert mean_nodes(seen) == 20.0
    assert per_second(seen) == 4.0
    rate = per_node(seen)
    assert (rate.value, rate.low, rate.high) == pytest.approx((0.2, 0.2, 0.2))


def test_the_ratio_does_not_take_more_nodes_for_a_higher_rate():
    steady = [Window(30.0, 960.0, 240 + noise) for noise in (-6, -3, 0, 3, 6)]
    more = [Window(30.0, 1920.0, 480 + noise) for noise in (-6, -3, 0, 3, 6)]
    same = ratio(more, steady)
    assert same.value == pytest.approx(1.0)
    assert 0.95 < same.low < 1.0 < same.high < 1.05
    slower = [Window(30.0, 960.0, 120 + noise) for noise in (-6, -3, 0, 3, 6)]
    assert ratio(slower, steady).value == pytest.approx(0.5)
