"""Where lines, bars, ticks and words of a chart go."""

import json

import pytest

from perl_rl.view.axes import nice_ticks, percent, short, step_ticks
from perl_rl.view.bars import Group, grouped_bars
from perl_rl.view.charts import SMALL, line_chart, stacked_bars
from perl_rl.view.series import Series


def curve(*values: float | None, place: int = 0, label: str = "a") -> Series:
    return Series(label, tuple(range(1, len(values) + 1)), values, place=place)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0, 0.25, 0.5, 0.75, 1]),
        (0.31, 0.58, [0.3, 0.4, 0.5, 0.6]),
        (0, 7, [0, 2, 4, 6, 8]),
        (-0.01, 0.01, [-0.01, -0.005, 0, 0.005, 0.01]),
        (1e5, 9e5, [0, 2e5, 4e5, 6e5, 8e5, 1e6]),
    ],
)
def test_ticks_are_round_and_hold_the_range(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_steps_name_both_ends_and_do_not_crowd() -> None:
    assert step_ticks(1, 90, SMALL) == [1, 25, 50, 75, 90]
    assert step_ticks(7, 7, SMALL) == [7]
    assert step_ticks(1, 2, SMALL) == [1, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00721, "0.00721"),
        (0.5, "0.500"),
        (9.81, "9.81"),
        (148.2, "148"),
        (1734, "1,734"),
        (17_340, "17.3k"),
        (2_100_000, "2.1M"),
        (-0.25, "-0.250"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_shares_are_in_percent() -> None:
    assert [percent(value) for value in (0, 0.004, 0.31, 1)] == ["0 %", "0.4 %", "31 %", "100 %"]


def test_a_line_runs_from_the_first_step_to_the_last() -> None:
    chart = line_chart([curve(0.0, 1.0)], bounds=(0.0, 1.0))
    bottom, top = SMALL.height - SMALL.bottom, SMALL.top
    right = SMALL.width - SMALL.right
    assert chart.lines[0].path == f"M{SMALL.left:g} {bottom:g}L{right:g} {top:g}"
    assert chart.lines[0].last == "1"
    assert chart.said == "a: 0 at step 1, 1 at step 2, between 0 and 1"


def test_a_missing_value_breaks_the_line_and_a_lone_one_is_a_dot() -> None:
    (line,) = line_chart([curve(*[1.0] * 20, None, 2.0, None, *[1.0] * 20)]).lines
    assert line.path.count("M") == 3
    assert len(line.dots) == 1


def test_what_has_no_value_is_not_drawn() -> None:
    assert line_chart([curve(None, None)]).empty
    assert stacked_bars([curve(0.0, 0.0)]).empty


def test_smoothing_keeps_the_values_faintly() -> None:
    (line,) = line_chart([curve(0.0, 1.0, 0.0, 1.0)], smooth=2).lines
    assert line.faint and line.faint != line.path
    assert json.loads(line_chart([curve(0.0, 1.0)], smooth=2).data)["over"] == 2


def test_the_axis_holds_every_value_and_stays_in_its_bounds() -> None:
    chart = line_chart([curve(0.97, 0.99)], bounds=(0.0, 1.0))
    assert [tick.label for tick in chart.y_ticks][-1] in ("0.99", "0.995", "1")
    constant = line_chart([curve(0.0, 0.0)])
    assert constant.lines[0].dots[0][1] <= SMALL.height - SMALL.bottom


def test_values_for_the_cursor_are_those_drawn() -> None:
    data = json.loads(line_chart([curve(0.25, None), curve(2.0, 4.0, place=1, label="b")]).data)
    assert data["steps"] == [1, 2]
    assert [line["values"] for line in data["lines"]] == [["0.250", None], ["2", "4"]]
    assert data["xs"][0] < data["xs"][1]


def test_the_resumption_is_marked() -> None:
    (mark,) = line_chart([curve(1, 2, 3)], marks=[2, 99]).marks
    assert mark.label == "resumed after step 2"


def test_bars_stand_on_each_other_and_many_steps_are_added_up() -> None:
    two = stacked_bars([curve(1.0, 2.0), curve(3.0, 0.0, place=1, label="b")])
    lower, upper, _ = two.bars
    assert upper.y + upper.height == pytest.approx(lower.y, abs=0.2)
    assert upper.height == pytest.approx(3 * lower.height, abs=0.4)
    many = stacked_bars([curve(*[1.0] * 1000)])
    assert len(many.bars) <= 120
    assert many.lines[0].last == "1,000 in all"


def test_shares_side_by_side_with_their_intervals() -> None:
    drawn = grouped_bars([Group("x", (0.5, None), ((0.4, 0.6), None)), Group("y", (1.0, 0.0))])
    assert [bar.colour for bar in drawn.bars] == [0, 0, 1]
    first = drawn.bars[0]
    assert first.low is not None and first.high is not None
    assert first.high < first.y < first.low
    assert drawn.said == "x: 0.500, none; y: 1.000, 0.000"
