"""How many groups may be in flight, given how many of them pass the filters."""

import pytest

from services.trainer.plan.admission import KeptShare, most_in_flight


@pytest.mark.parametrize("scored", [0, 5, 31, 32])
def test_every_group_takes_a_place_where_none_is_dropped(scored: int) -> None:
    assert most_in_flight(32, scored, 1.0, 100) == 32


@pytest.mark.parametrize("scored", [0, 16, 28, 31])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_those_that_will_be_kept_fit_with_a_standard_deviation_to_spare(
    scored: int, share: float
) -> None:
    waiting = most_in_flight(32, scored, share, 1000) - scored
    left = 32 - scored
    assert waiting >= left
    if waiting > left:
        expected, spread = waiting * share, (waiting * share * (1 - share)) ** 0.5
        assert expected + spread <= left


def test_more_are_in_flight_the_more_are_dropped() -> None:
    numbers = [most_in_flight(32, 16, share, 1000) for share in (1.0, 0.75, 0.5, 0.25)]
    assert numbers == sorted(set(numbers)) and numbers[-1] > 2 * numbers[0]


@pytest.mark.parametrize(("scored", "at_once", "most"), [(24, 12, 36), (16, 12, 32), (31, 12, 32)])
def test_no_more_than_the_nodes_work_on_at_once(scored: int, at_once: int, most: int) -> None:
    assert most_in_flight(32, scored, 0.3, at_once) == most


def test_no_place_is_left_when_all_were_kept() -> None:
    assert most_in_flight(32, 40, 0.2, 100) == 40


def test_the_share_follows_what_was_scored() -> None:
    share = KeptShare(memory=64)
    assert share.share == 1.0
    # What an earlier history kept and dropped counts for nothing.
    share.see(kept=1000, dropped=0)
    for step in range(1, 60):
        share.see(kept=1000 + 3 * step, dropped=7 * step)
    assert share.share == pytest.approx(0.3, abs=0.01)
    share.see(kept=1177, dropped=10_000)
    assert share.share == KeptShare.LEAST


def test_totals_that_go_back_change_nothing() -> None:
    share = KeptShare(memory=8)
    share.see(kept=10, dropped=10)
    share.see(kept=9, dropped=10)
    assert share.share == 1.0
