"""Where the lines, bars and labels of a chart go; the template ``_chart.html`` draws them as SVG.

Coordinates are in the chart's own units, from its upper left corner. Colours and fonts are classes
of ``style.css``, because the page's policy admits no style in the markup.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from perl_rl.view.axes import Size, Tick, nice_ticks, on_axis, short, step_ticks
from perl_rl.view.series import Series, merged_steps, smoothed, thinned

COLOURS = 6
"""How many line colours ``style.css`` has; after these they repeat."""

_MOST_POINTS = 600
_MOST_BARS = 120


SMALL = Size(420, 190)
SPARK = Size(240, 56, left=4, right=4, top=4, bottom=4)
WIDE = Size(1080, 380, left=56, right=14)
NARROW = Size(380, 260)


@dataclass(frozen=True)
class Line:
    """One drawn series."""

    colour: int
    label: str
    path: str
    faint: str = ""
    """The values before they were smoothed; empty: the same."""
    band: str = ""
    """The outline of the values' intervals."""
    dots: tuple[tuple[float, float], ...] = ()
    """Where points stand alone or are few."""
    last: str = ""
    """The last value, in words."""


@dataclass(frozen=True)
class Bar:
    """One part of a stacked bar."""

    colour: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn."""

    size: Size
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...] = ()
    marks: tuple[Tick, ...] = ()
    """Steps after which the run was resumed."""
    said: str = ""
    """The chart in words, for those who do not see it."""
    data: str = ""
    """The drawn values as JSON, for ``charts.js``: ``steps``, ``xs``, ``lines``, and ``over`` how
    many steps a value is the mean."""
    words: Callable[[float], str] = field(default=str, compare=False)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.lines


class _Field:
    """Turns steps and values into coordinates."""

    def __init__(self, size: Size, steps: tuple[int, int], values: tuple[float, float]) -> None:
        self.size, self._steps, self._values = size, steps, values
        self._width = size.width - size.left - size.right
        self._height = size.height - size.top - size.bottom

    def x(self, step: float) -> float:
        low, high = self._steps
        share = (step - low) / (high - low) if high > low else 0.5
        return round(self.size.left + share * self._width, 1)

    def y(self, value: float) -> float:
        low, high = self._values
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return round(self.size.top + (1 - share) * self._height, 1)


def line_chart(
    given: Sequence[Series],
    size: Size = SMALL,
    smooth: int = 1,
    marks: Sequence[int] = (),
    words: Callable[[float], str] | None = None,
    bounds: tuple[float | None, float | None] = (None, None),
) -> Chart:
    """The series as lines over the steps.

    Args:
        smooth: how many values each drawn one is the mean of; the values themselves stay, faint.
        marks: steps after which the run was resumed.
        words: how a value is written.
        bounds: the lowest and the highest value that the axis may show, where they are known.
    """
    raw = [one for one in given if one.known()]
    words = words or short
    if not raw:
        return Chart(size, (), (), ())
    drawn = [thinned(one if one.spans else smoothed(one, smooth), _MOST_POINTS) for one in raw]
    steps = merged_steps(raw)
    values = [value for one in raw for _, value in one.known()]
    values += [edge for one in drawn for span in one.spans for edge in span]
    ticks = nice_ticks(*_range(values, bounds))
    area = _Field(size, (steps[0], steps[-1]), (ticks[0], ticks[-1]))
    lines = tuple(
        _line(area, one, thinned(before, _MOST_POINTS) if smooth > 1 else None, words)
        for one, before in zip(drawn, raw, strict=True)
    )
    return Chart(
        size,
        tuple(Tick(area.x(step), f"{step:,}") for step in step_ticks(steps[0], steps[-1], size)),
        tuple(Tick(area.y(value), on_axis(value, words)) for value in ticks),
        lines,
        marks=_marks(area, marks, steps),
        said=_said(raw, words),
        data=_data(area, drawn, words, over=1 if drawn[0].spans else smooth),
        words=words,
    )


def stacked_bars(given: Sequence[Series], size: Size = SMALL, marks: Sequence[int] = ()) -> Chart:
    """Counts by step, one upon the other; steps side by side are added up where there are many.

    Args:
        given: series over the same steps, without missing values.
        marks: steps after which the run was resumed.
    """
    raw = [one for one in given if any(value for _, value in one.known())]
    if not raw:
        return Chart(size, (), (), ())
    steps = list(raw[0].steps)
    each = max(1, math.ceil(len(steps) / _MOST_BARS))
    cells = [
        [sum(value or 0.0 for value in one.values[at : at + each]) for one in raw]
        for at in range(0, len(steps), each)
    ]
    firsts = steps[::each]
    ticks = nice_ticks(0.0, max(map(sum, cells)), whole=True)
    area = _Field(size, (steps[0], steps[-1] + each), (0.0, ticks[-1]))
    bars = [
        bar
        for first, cell in zip(firsts, cells, strict=True)
        for bar in _stack(area, (first, first + each), cell, [one.place for one in raw])
    ]
    summed = [
        Series(one.label, tuple(firsts), tuple(column), place=one.place)
        for one, column in zip(raw, zip(*cells, strict=True), strict=True)
    ]
    totals = {one.label: sum(value for _, value in one.known()) for one in raw}
    lines = tuple(
        Line(one.place % COLOURS, one.label, "", last=f"{totals[one.label]:,.0f} in all")
        for one in raw
    )
    said = "; ".join(f"{label}: {total:,.0f} in all" for label, total in totals.items())
    return Chart(
        size,
        tuple(
            Tick(area.x(step + each / 2), f"{step:,}")
            for step in step_ticks(steps[0], steps[-1], size)
        ),
        tuple(Tick(area.y(value), on_axis(value, short)) for value in ticks),
        lines,
        tuple(bars),
        _marks(area, marks, steps),
        said,
        _data(area, summed, short, each / 2),
        short,
    )


def _stack(
    area: _Field, steps: tuple[int, int], cell: Sequence[float], colours: Sequence[int]
) -> list[Bar]:
    left, right = area.x(steps[0]), area.x(steps[1])
    gap = min(1.0, (right - left) * 0.15)
    below, bars = 0.0, []
    for value, colour in zip(cell, colours, strict=True):
        if value:
            top, bottom = area.y(below + value), area.y(below)
            bars.append(
                Bar(
                    colour % COLOURS,
                    left,
                    top,
                    round(right - left - gap, 1),
                    round(bottom - top, 1),
                )
            )
        below += value
    return bars


def _line(area: _Field, one: Series, before: Series | None, words: Callable[[float], str]) -> Line:
    points = [
        None if value is None else (area.x(step), area.y(value))
        for step, value in zip(one.steps, one.values, strict=True)
    ]
    known = [point for point in points if point is not None]
    return Line(
        one.place % COLOURS,
        one.label,
        _path(points),
        "" if before is None or one.spans else _path_of(area, before),
        _band(area, one),
        tuple(known) if len(known) < 16 else tuple(_alone(points)),
        words(one.known()[-1][1]),
    )


def _path_of(area: _Field, one: Series) -> str:
    return _path(
        [
            None if value is None else (area.x(step), area.y(value))
            for step, value in zip(one.steps, one.values, strict=True)
        ]
    )


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """An SVG path; a missing point breaks the line."""
    parts, pen_down = [], False
    for point in points:
        if point is not None:
            parts.append(f"{'L' if pen_down else 'M'}{point[0]:g} {point[1]:g}")
        pen_down = point is not None
    return "".join(parts)


def _alone(points: Sequence[tuple[float, float] | None]) -> list[tuple[float, float]]:
    """Points whose neighbours are missing: a line does not show them."""
    padded = [None, *points, None]
    return [
        point
        for before, point, after in zip(padded, points, padded[2:], strict=False)
        if point is not None and before is None and after is None
    ]


def _band(area: _Field, one: Series) -> str:
    if not one.spans:
        return ""
    xs = [area.x(step) for step in one.steps]
    upper = [f"{x:g} {area.y(high):g}" for x, (_, high) in zip(xs, one.spans, strict=True)]
    lower = [f"{x:g} {area.y(low):g}" for x, (low, _) in zip(xs, one.spans, strict=True)]
    return "M" + "L".join([*upper, *reversed(lower)]) + "Z"


def _marks(area: _Field, marks: Sequence[int], steps: Sequence[int]) -> tuple[Tick, ...]:
    return tuple(
        Tick(area.x(step), f"resumed after step {step}")
        for step in marks
        if steps[0] <= step <= steps[-1]
    )


def _said(several: Sequence[Series], words: Callable[[float], str]) -> str:
    sentences = []
    for one in several:
        known = one.known()
        (first, began), (last, ended) = known[0], known[-1]
        low, high = (words(pick(value for _, value in known)) for pick in (min, max))
        sentences.append(
            f"{one.label}: {words(began)} at step {first}, {words(ended)} at step {last}, "
            f"between {low} and {high}"
        )
    return "; ".join(sentences)


def _data(
    area: _Field,
    several: Sequence[Series],
    words: Callable[[float], str],
    shift: float = 0.0,
    over: int = 1,
) -> str:
    steps = merged_steps(several)
    lines = []
    for one in several:
        values = dict(one.known())
        lines.append(
            {
                "label": one.label,
                "colour": one.place % COLOURS,
                "values": [words(values[step]) if step in values else None for step in steps],
                "ys": [area.y(values[step]) if step in values else None for step in steps],
            }
        )
    xs = [area.x(step + shift) for step in steps]
    content = {"steps": steps, "xs": xs, "lines": lines, "over": over}
    return json.dumps(content, separators=(",", ":"))


def _range(
    values: Sequence[float], bounds: tuple[float | None, float | None]
) -> tuple[float, float]:
    """What the axis shows: the values, and 0 where it is not far away."""
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) * 0.1 or 0.5
        low, high = low - room, high + room
        if min(values) >= 0:
            low = max(0.0, low)
    if 0 < low < 0.5 * high:
        low = 0.0
    floor, ceiling = bounds
    return (
        low if floor is None else max(low, floor),
        high if ceiling is None else min(max(high, low), ceiling),
    )
