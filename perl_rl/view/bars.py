"""Where the bars of shares go that are compared side by side, with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

from perl_rl.view.axes import Size, Tick
from perl_rl.view.charts import SMALL

Span = tuple[float, float]


@dataclass(frozen=True)
class Group:
    """Bars that stand side by side, one for each thing that is compared."""

    label: str
    values: tuple[float | None, ...]
    """Shares between 0 and 1; None: no bar."""
    spans: tuple[Span | None, ...] = ()
    """Their 95 % intervals; None, or left out: not known."""


@dataclass(frozen=True)
class ShareBar:
    """One bar, with its interval as a line."""

    colour: int
    x: float
    y: float
    width: float
    height: float
    value: float
    middle: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class GroupedBars:
    """All bars, ready to be drawn."""

    size: Size
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bars: tuple[ShareBar, ...]
    said: str
    """The bars in words, for those who do not see them."""


def grouped_bars(groups: Sequence[Group], size: Size = SMALL) -> GroupedBars:
    """Bars of shares over an axis from 0 to 1."""
    width = (size.width - size.left - size.right) / max(1, len(groups))
    height = size.height - size.top - size.bottom

    def y(share: float) -> float:
        return round(size.top + (1 - min(1.0, max(0.0, share))) * height, 1)

    bars, ticks = [], []
    for place, group in enumerate(groups):
        left = size.left + place * width
        ticks.append(Tick(round(left + width / 2, 1), group.label))
        each = min(46.0, width * 0.76 / len(group.values))
        start = left + (width - each * len(group.values)) / 2
        spans = group.spans or (None,) * len(group.values)
        for colour, (value, span) in enumerate(zip(group.values, spans, strict=True)):
            if value is None:
                continue
            x = round(start + colour * each, 1)
            low, high = (None, None) if span is None else (y(span[0]), y(span[1]))
            bars.append(
                ShareBar(
                    colour,
                    x,
                    y(value),
                    round(each * 0.9, 1),
                    round(y(0) - y(value), 1),
                    value,
                    round(x + each * 0.45, 1),
                    low,
                    high,
                )
            )
    said = "; ".join(
        f"{group.label}: " + ", ".join("none" if v is None else f"{v:.3f}" for v in group.values)
        for group in groups
    )
    y_ticks = tuple(Tick(y(share / 4), f"{share / 4:g}") for share in range(5))
    return GroupedBars(size, tuple(ticks), y_ticks, tuple(bars), said)
