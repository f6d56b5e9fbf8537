"""The formats that questions lie in on disk, and one function that streams them as `Sample`s.

A format is one module with a function ``read(row, reading)`` that yields the samples of a row or
raises `BadRow`, and one line here and in ``shared/config/source.py``.
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
from shared.formats.rows import BadRow, Row, find_files, read_rows
from shared.sample import Sample

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

_SAID_EVERY = 500

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
    """What became of a source's rows."""

    samples: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows left out, by reason."""
    examples: dict[str, str] = field(default_factory=dict)
    """The first such row of each reason, in one line with file, row and column."""

    def line(self) -> str:
        """The counts in one line."""
        reasons = ", ".join(f"{reason} ({n})" for reason, n in self.skipped.most_common())
        return f"{self.samples} samples, {self.skipped.total()} rows skipped" + (
            f": {reasons}" if reasons else ""
        )


@dataclass(frozen=True)
class Located:
    """A sample and the row it comes from."""

    sample: Sample
    file: Path
    row: int

    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.file}, row {self.row}, sample '{self.sample.id}'"


@dataclass(frozen=True)
class SourceSize:
    """The part of the samples that one source has given, and its weight among the sources."""

    name: str
    weight: float
    size: int


@dataclass(frozen=True)
class Loaded:
    """Samples of one or more sources, one source after another."""

    located: list[Located]
    sizes: list[SourceSize]
    notes: list[str]
    """For each source in a foreign format, or with rows left out: what became of its rows."""

    @property
    def samples(self) -> list[Sample]:
        """The samples alone."""
        return [one.sample for one in self.located]


def stream(source: SourceConfig, pictures: ImageFolder, counts: RowCounts) -> Iterator[Located]:
    """The samples of `source`, in order of its files and rows, with ids of their own.

    Args:
        pictures: where pictures that lie inside the files are kept.
        counts: is filled in on the way.

    Raises:
        UserError: when there are no files, or a row does not fit (`BadRow`) and the source does
            not allow to skip it.
    """
    read, reading = FORMATS[source.format], Reading(source, pictures)
    files = find_files(source.path, source.split)
    names = _Names(source.name, Path(os.path.commonpath([file.parent for file in files])).parent)
    for file in files:
        for row in read_rows(file):
            try:
                if isinstance(row, BadRow):
                    raise row
                for sample in names.give(list(read(row, reading)), row):
                    counts.samples += 1
                    yield Located(sample, file, row.number)
            except BadRow as error:
                if not source.skip_bad_rows:
                    raise
                counts.skipped[error.reason] += 1
                counts.examples.setdefault(error.reason, str(error))


class _Names:
    """Gives samples their ids: their own, or one of their place, ``nlvr2/train-0:17``."""

    def __init__(self, prefix: str | None, root: Path) -> None:
        self._prefix = prefix
        self._root = root
        self._seen: dict[str, str] = {}

    def give(self, found: list[Sample], row: Row) -> list[Sample]:
        """The samples of a row with ids; the second question of a row ends in ``#2``."""
        place = f"{row.file.relative_to(self._root).with_suffix('')}:{row.number}"
        named = []
        for number, sample in enumerate(found, start=1):
            own = sample.id or (place if number == 1 else f"{place}#{number}")
            name = f"{self._prefix}/{own}" if self._prefix else own
            if name in self._seen:
                other = self._seen[name]
                raise row.bad("id", "is repeated", f"'{name}' is also the id of {other}")
            self._seen[name] = f"{row.file}, row {row.number}"
            named.append(sample.model_copy(update={"id": name}))
        return named


def load(
    data: DataConfig,
    sources: tuple[SourceConfig, ...],
    default_folder: Path,
    progress: Callable[[str], None] = lambda doing: None,
) -> Loaded:
    """All samples of `sources` (``data.train_sources()``), with the counts of each in the log.

    Args:
        progress: is told now and then how far the reading is.
        default_folder: keeps the pictures that lie inside the files, unless ``data.image_folder``
            names another; several services may share it.

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
            if counts.samples % _SAID_EVERY == 0:
                progress(f"{source.path}: {counts.line()}")
        if counts.samples == 0:
            raise UserError(f"{source.path}: holds no samples ({counts.line()})")
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
                f"{one.place()}: {other.file}, row {other.row} has the same id; give the sources "
                "different names (name: ...)"
            )
