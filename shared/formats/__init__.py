"""Reads questions on disk, in several formats, as `Sample`s.

A format is a module with a function ``read(row, reading)`` that yields the samples of a row or
raises `BadRow`, and one line each here and in ``shared/config/source.py``.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.config import DataConfig
from shared.config.source import FormatName, SourceConfig
from shared.errors import UserError
from shared.formats import easyr1, geometry3k, mantis, mmk12, samples, verl, virl39k
from shared.formats.building import Reading
from shared.formats.pictures import ImageFolder
from shared.formats.rows import BadRow, Row, Unit, find_files, read_rows, spot
from shared.row_shapes import other_shape
from shared.sample import Sample
from shared.words import amount

__all__ = [
    "FORMATS",
    "BadRow",
    "ImageFolder",
    "Loaded",
    "Located",
    "RowCounts",
    "SourceConfig",
    "SourceSize",
    "load",
    "stream",
]

logger = logging.getLogger(__name__)

FORMATS: dict[FormatName, Callable[[Row, Reading], Iterator[Sample]]] = {
    "samples": samples.read,
    "verl": verl.read,
    "easyr1": easyr1.read,
    "mantis": mantis.read,
    "geometry3k": geometry3k.read,
    "mmk12": mmk12.read,
    "virl39k": virl39k.read,
}


@dataclass
class RowCounts:
    """How many samples a source gave, and which rows were skipped."""

    samples: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Skipped rows by reason."""
    subsets: Counter[str] = field(default_factory=Counter)
    """Rows of each subset that were read, or left out because `subsets` does not name it."""
    examples: dict[str, str] = field(default_factory=dict)
    """For each reason the error of the first row: one line with file, row and column."""

    def line(self) -> str:
        """The counts in one line."""
        reasons = ", ".join(f"{reason} ({n})" for reason, n in self.skipped.most_common())
        return (
            f"{amount(self.samples, 'sample')}, {amount(self.skipped.total(), 'row')} skipped"
            + (f": {reasons}" if reasons else "")
        )


@dataclass(frozen=True)
class Located:
    """A sample and the file and row it comes from."""

    sample: Sample
    file: Path
    row: int
    unit: Unit = "row"
    """What `row` counts."""

    def spot(self) -> str:
        """File and row, for messages."""
        return spot(self.file, self.row, self.unit)

    def place(self) -> str:
        """File, row and id, for messages."""
        return f"{self.spot()}, sample '{self.sample.id}'"


@dataclass(frozen=True)
class SourceSize:
    """How many samples one source has, and its weight among the sources."""

    name: str
    weight: float
    size: int


@dataclass(frozen=True)
class Loaded:
    """Samples of one or more sources, one source after another."""

    located: list[Located]
    sizes: list[SourceSize]
    notes: list[str]
    """Row counts of each source that has another format than `samples` or skipped rows."""

    @property
    def samples(self) -> list[Sample]:
        """The samples without their places."""
        return [one.sample for one in self.located]


def stream(source: SourceConfig, pictures: ImageFolder, counts: RowCounts) -> Iterator[Located]:
    """The samples of `source` with unique ids, in the order of its files and rows.

    Args:
        pictures: folder for images that are stored inside the files.
        counts: updated while the samples are read.

    Raises:
        UserError: when there are no files, or when a row does not fit (`BadRow`) and the source
            does not skip bad rows.
    """
    read, reading = FORMATS[source.format], Reading(source, pictures)
    files = find_files(source.path, source.split)
    names = _Names(source.name, Path(os.path.commonpath([file.parent for file in files])).parent)
    for file in files:
        for row in read_rows(file):
            if source.subsets and isinstance(row, Row):
                counts.subsets[mantis.subset_of(row, source)] += 1
            try:
                if isinstance(row, BadRow):
                    raise row
                for sample in names.give(_read(read, row, reading), row):
                    counts.samples += 1
                    yield Located(sample, file, row.number, row.unit)
            except BadRow as error:
                if not source.skip_bad_rows:
                    raise
                counts.skipped[error.reason] += 1
                counts.examples.setdefault(error.reason, str(error))
    _refuse_unknown_subsets(source, counts.subsets)


def _refuse_unknown_subsets(source: SourceConfig, found: Counter[str]) -> None:
    for subset in source.subsets:
        if subset not in found:
            there = ", ".join(f"{name} ({count:,})" for name, count in found.most_common(20))
            raise UserError(
                f"{source.path}: no row is of subset '{subset}'; there are {there or 'no rows'}"
            )


def _read(
    read: Callable[[Row, Reading], Iterator[Sample]], row: Row, reading: Reading
) -> list[Sample]:
    try:
        return list(read(row, reading))
    except BadRow as error:
        raise error.with_hint(other_shape(row.values, reading.source)) from None


class _Names:
    """Gives samples their ids: the one in the row, or else file and row: ``nlvr2/train-0:17``."""

    def __init__(self, prefix: str | None, root: Path) -> None:
        self._prefix = prefix
        self._root = root
        self._seen: dict[str, str] = {}

    def give(self, found: list[Sample], row: Row) -> list[Sample]:
        """The samples of a row with their ids; a row's second question gets the suffix ``#2``."""
        place = f"{row.file.relative_to(self._root).with_suffix('')}:{row.number}"
        named = []
        for number, sample in enumerate(found, start=1):
            own = sample.id or (place if number == 1 else f"{place}#{number}")
            name = f"{self._prefix}/{own}" if self._prefix else own
            if name in self._seen:
                other = self._seen[name]
                raise row.bad("id", "is repeated", f"'{name}' is also the id of {other}")
            self._seen[name] = spot(row.file, row.number, row.unit)
            named.append(sample.model_copy(update={"id": name}))
        return named


def load(
    data: DataConfig,
    sources: tuple[SourceConfig, ...],
    default_folder: Path,
    advance: Callable[[], None] = lambda: None,
) -> Loaded:
    """All samples of `sources` (``data.train_sources()``); logs the row counts of each source.

    Args:
        default_folder: folder for images that are stored inside the files, when
            ``data.image_folder`` is empty; several services may share it.
        advance: called after each sample.

    Raises:
        UserError: naming file, row and column of the first row that does not fit.
    """
    pictures = ImageFolder(data.image_folder or default_folder, data.max_image_pixels)
    loaded = Loaded([], [], [])
    for source in sources:
        counts = RowCounts()
        before = len(loaded.located)
        for one in stream(source, pictures, counts):
            loaded.located.append(one)
            advance()
        if counts.samples == 0:
            raise UserError(f"{source.path}: no samples found ({counts.line()})")
        if counts.skipped or source.format != "samples":
            loaded.notes.append(f"{source.path}: {counts.line()}")
            logger.info("%s", loaded.notes[-1])
        size = len(loaded.located) - before
        loaded.sizes.append(SourceSize(source.name or str(source.path), source.weight, size))
    _refuse_repeated_ids(loaded.located)
    return loaded


def _refuse_repeated_ids(located: list[Located]) -> None:
    seen: dict[str, Located] = {}
    for one in located:
        other = seen.setdefault(one.sample.id, one)
        if other is not one:
            raise UserError(
                f"{one.place()}: {other.spot()} has the same id; give each source "
                "its own name (name: ...)"
            )
