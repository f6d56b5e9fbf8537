"""The size of a chart, the round numbers on its axes, and how numbers are written."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A chart's outer size, and the room around its field."""

    width: float
    height: float
    left: float = 46
    right: float = 10
    top: float = 10
    bottom: float = 24


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


def nice_ticks(low: float, high: float, about: int = 4, whole: bool = False) -> list[float]:
    """Round numbers from at most `low` to at least `high`, at even distances.

    Args:
        about: how many distances.
        whole: only whole numbers.
    """
    span = (high - low) or abs(high) or 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(place * step, 12) for place in range(first, last + 1)]


def step_ticks(first: int, last: int, size: Size) -> list[int]:
    """Round steps between the first and the last one, both of which are named too."""
    about = max(2, int(size.width // 100))
    inner = [int(value) for value in nice_ticks(first, last, about, whole=True)]
    room = (last - first) / about * 0.6
    between = [step for step in inner if first + room < step < last - room]
    return [first, *between, last] if last > first else [first]


def short(value: float) -> str:
    """A number in about five characters: 0.0072, 0.531, 9.81, 148, 1.7k, 2.1M."""
    size = abs(value)
    if size >= 999_500:
        return f"{value / 1e6:.3g}M"
    if size >= 9_995:
        return f"{value / 1e3:.3g}k"
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    if size >= 1:
        return f"{value:.3g}"
    if size >= 0.0995:
        return f"{value:.3f}"
    return f"{value:.3g}"


def on_axis(value: float, words: Callable[[float], str]) -> str:
    """A number beside an axis: without zeros at its end."""
    text = words(value)
    return text.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d+", text) else text


def percent(value: float) -> str:
    """A share in percent."""
    return f"{value * 100:.0f} %" if value in (0, 1) or value >= 0.0995 else f"{value * 100:.1f} %"
