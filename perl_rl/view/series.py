"""The figures of a run by step, as curves, from ``metrics.jsonl``, the record and ``evaluations/``.

A live run is read again and again, so a reader keeps what it has read and takes in only what is
new.
"""

import json
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from shared.errors import UserError
from shared.records.evaluations import FIGURES, Asked, evaluation_files, read_evaluation
from shared.records.steps import METRICS

Row = dict[str, Any]

_UNUSED = "groups"
"""Of a line: the ids of the step's groups, which take most of it."""

AVERAGED = {"flipped": "flip_rate", "worst_accuracy": "worst_accuracy"}
"""Columns of the record that are averaged over a step's groups, with the name of the average."""


@dataclass(frozen=True)
class Series:
    """One figure by step; steps rise, and a value is None where the step lacks it."""

    label: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]
    spans: tuple[tuple[float, float], ...] = ()
    """The 95 % interval of each value; empty: not known."""
    place: int = 0
    """Which colour it has."""

    def known(self) -> list[tuple[int, float]]:
        """The steps that have a value, with it."""
        pairs = zip(self.steps, self.values, strict=True)
        return [(step, value) for step, value in pairs if value is not None]


class MetricsFile:
    """The lines of a run's ``metrics.jsonl``; only what was added is read again.

    Safe for several threads. A last line without its end is left for the next time, and the trainer
    replaces the file when it goes on from a checkpoint.
    """

    def __init__(self, run_dir: Path) -> None:
        self._file = run_dir / METRICS
        self._lock = threading.Lock()
        self._offset, self._inode = 0, 0
        self._by_step: dict[int, Row] = {}

    def rows(self) -> list[Row]:
        """One row for each step, in their order, without the ids of its groups.

        Raises:
            UserError: naming the line that is no record of a step.
        """
        with self._lock:
            self._take_in()
            return [self._by_step[step] for step in sorted(self._by_step)]

    def _take_in(self) -> None:
        try:
            stream = self._file.open("rb")
        except FileNotFoundError:
            self._offset, self._inode, self._by_step = 0, 0, {}
            return
        except OSError as error:
            raise UserError(f"{self._file}: cannot be read ({error.strerror})") from None
        with stream:
            found = os.fstat(stream.fileno())
            if found.st_ino != self._inode or found.st_size < self._offset:
                self._offset, self._inode, self._by_step = 0, found.st_ino, {}
            stream.seek(self._offset)
            added = stream.read()
        complete = added[: added.rfind(b"\n") + 1]
        for line in complete.splitlines():
            row = self._parse(line)
            self._by_step[row["step"]] = row
        self._offset += len(complete)

    def _parse(self, line: bytes) -> Row:
        try:
            row = json.loads(line)
            return {"step": int(row["step"])} | {k: row[k] for k in row if k != _UNUSED}
        except (ValueError, TypeError, KeyError):
            text = line[:60].decode(errors="replace")
            raise UserError(
                f"{self._file}: a line is no record of a step (it begins '{text}'); remove it"
            ) from None


def group_averages(table: pa.Table) -> dict[int, dict[str, float]]:
    """The averages over the groups of each step, as far as groups have them.

    Args:
        table: groups, with the columns of ``AVERAGED``.
    """
    # Arrow casts a truth value to an integer, and only that to a float.
    flags = {pa.bool_(): pa.int8()}
    columns = [
        table[name].cast(flags.get(table[name].type, table[name].type)).cast(pa.float64())
        for name in AVERAGED
    ]
    names = list(AVERAGED.values())
    means = (
        pa.table([table["step"], *columns], names=["step", *names])
        .group_by("step")
        .aggregate([(name, "mean") for name in names])
        .to_pylist()
    )
    return {
        row["step"]: {
            name: row[f"{name}_mean"] for name in names if row[f"{name}_mean"] is not None
        }
        for row in means
    }


def joined(rows: Sequence[Row], averages: Mapping[int, Mapping[str, float]]) -> list[Row]:
    """The rows with the averages over their groups; steps without a row are left out."""
    return [{**row, **averages.get(row["step"], {})} for row in rows]


def series(rows: Sequence[Row], key: str, label: str, place: int = 0) -> Series:
    """The figure `key` of each row; a number that is not finite counts as missing."""
    return Series(
        label,
        tuple(row["step"] for row in rows),
        tuple(_finite(row.get(key)) for row in rows),
        place=place,
    )


def by_reason(rows: Sequence[Row], kinds: Mapping[str, str]) -> list[Series]:
    """One series for each reason under which groups were counted; 0 where a step has none.

    Args:
        kinds: the fields with counts by reason, and what is put before the reason.
    """
    names = {
        (key, reason): f"{before}{reason}"
        for key, before in kinds.items()
        for reason in sorted({reason for row in rows for reason in row.get(key) or {}})
    }
    steps = tuple(row["step"] for row in rows)
    return [
        Series(
            name,
            steps,
            tuple(float((row.get(key) or {}).get(reason, 0)) for row in rows),
            place=place,
        )
        for place, ((key, reason), name) in enumerate(names.items())
    ]


@dataclass(frozen=True)
class HeldOutCurves:
    """A run's evaluations on its held-out questions, by step."""

    series: tuple[Series, ...] = ()
    asked: Asked | None = None
    """What was asked: only evaluations that asked the same are shown over each other."""


def held_out(run_dir: Path) -> HeldOutCurves:
    """The evaluations of the run with their intervals.

    Raises:
        UserError: when one cannot be read, or they asked different things.
    """
    found: dict[int, tuple[Asked, list[tuple[float, float, float]]]] = {}
    for step, file in evaluation_files(run_dir).items():
        try:
            found[step] = _evaluation(read_evaluation(file))
        except FileNotFoundError:
            continue  # Set aside meanwhile: the run goes on from an earlier step.
        except (OSError, ValueError, LookupError, TypeError):
            raise UserError(f"{file}: is no evaluation of a run; remove it") from None
    if not found:
        return HeldOutCurves()
    first, *others = {asked for asked, _ in found.values()}
    if others:
        raise UserError(
            f"{run_dir}: its evaluations asked different things, so they make no curve: "
            f"{first.words()}; {others[0].words()}"
        )
    columns = zip(*(figures for _, figures in found.values()), strict=True)
    return HeldOutCurves(
        tuple(
            Series(
                label,
                tuple(found),
                tuple(value for value, _, _ in column),
                tuple((low, high) for _, low, high in column),
                place,
            )
            for place, (label, column) in enumerate(zip(FIGURES.values(), columns, strict=True))
        ),
        first,
    )


def _evaluation(content: dict[str, Any]) -> tuple[Asked, list[tuple[float, float, float]]]:
    figures = [
        (float(one["value"]), float(one["low"]), float(one["high"]))
        for one in (content[name] for name in FIGURES)
    ]
    if not all(math.isfinite(value) for of_one in figures for value in of_one):
        raise ValueError("a figure is no finite number")
    return Asked.model_validate(content["asked"]), figures


def smoothed(one: Series, over: int) -> Series:
    """The mean of each value and the `over` - 1 known ones before it; missing ones stay missing."""
    window: list[float] = []
    values: list[float | None] = []
    for value in one.values:
        if value is not None:
            window = [*window[-(over - 1) :], value] if over > 1 else [value]
        values.append(None if value is None else sum(window) / len(window))
    return replace(one, values=tuple(values), spans=())


def thinned(one: Series, most: int) -> Series:
    """About `most` points at most, which look the same: the lowest and highest of each stretch."""
    count = len(one.steps)
    if count <= most:
        return one
    stretches = max(1, most // 2)
    kept = sorted(set(_extremes(one.values, stretches)) | {0, count - 1})
    return Series(
        one.label,
        tuple(one.steps[place] for place in kept),
        tuple(one.values[place] for place in kept),
        tuple(one.spans[place] for place in kept) if one.spans else (),
        one.place,
    )


def _extremes(values: Sequence[float | None], stretches: int) -> Iterator[int]:
    count = len(values)
    for number in range(stretches):
        places = range(number * count // stretches, (number + 1) * count // stretches)
        known = [(value, place) for place in places if (value := values[place]) is not None]
        if known:
            yield min(known)[1]
            yield max(known)[1]


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def merged_steps(several: Iterable[Series]) -> list[int]:
    """All steps of these series, each once, in their order."""
    return sorted({step for one in several for step in one.steps})


def by_step(several: Sequence[Series]) -> list[tuple[int, list[float | None]]]:
    """A table: for each step the value of each series, None where it has none."""
    columns = [dict(zip(one.steps, one.values, strict=True)) for one in several]
    steps = merged_steps(several)
    return [(step, [column.get(step) for column in columns]) for step in steps]
