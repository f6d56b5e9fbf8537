"""Rows of a benchmark's local files, read by ``shared/formats/rows.py``.

Benchmarks add two things: they choose the published split's files in a folder, and they have JSON
files that map ids to rows.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from shared.errors import UserError
from shared.formats import rows
from shared.formats.rows import SUFFIXES, BadRow, Row, read_json, row_of, split_of

__all__ = ["BadRow", "Row", "find_files", "read_rows"]


def find_files(data: Path, split: str) -> list[Path]:
    """The data file `data`, or the files of `split` in that folder and below, sorted.

    A shard's split is in its name (``val-00000-of-00002.parquet``, ``testmini.json``) or in its
    folder's (``test/0000.parquet``). If no name has a split, all files are taken.

    Raises:
        UserError: when there are none.
    """
    if data.is_file():
        return rows.find_files(data, split=None)
    if not data.is_dir():
        raise UserError(f"{data}: no such file or folder; --data names the benchmark's files")
    for suffix in SUFFIXES:
        files = sorted(data.rglob(f"*{suffix}"))
        if files:
            return _of_split(files, split, data)
    raise UserError(f"{data}: holds no {', '.join(SUFFIXES)} files; name the benchmark's by --data")


def _of_split(files: list[Path], split: str, data: Path) -> list[Path]:
    splits = [split_of(file) for file in files]
    if split in splits:
        return [file for file, named in zip(files, splits, strict=True) if named == split]
    if any(splits):
        found = ", ".join(sorted({named for named in splits if named}))
        raise UserError(
            f"{data}: holds no files of split '{split}', only {found}; name one by --split"
        )
    return files


def read_rows(file: Path, skipped: list[BadRow] | None = None) -> Iterator[Row]:
    """The rows of one file.

    Args:
        skipped: gets the rows that cannot be read; None: the first one is an error.

    Raises:
        UserError: when the file cannot be read.
        BadRow: when a row cannot be read, or is no mapping from columns to values.
    """
    for row in _json(file) if file.suffix == ".json" else rows.read_rows(file):
        if not isinstance(row, BadRow):
            yield row
        elif skipped is None:
            raise row
        else:
            skipped.append(row)


def _json(file: Path) -> Iterator[Row | BadRow]:
    """The items of a list, or the values of a mapping from ids to rows."""
    whole = read_json(file)
    found = list(whole.values()) if isinstance(whole, dict) else whole
    if not isinstance(found, list):
        raise UserError(f"{file}: must hold a list of rows, or a mapping from ids to rows")
    return (row_of(file, number, values) for number, values in enumerate(found, start=1))


def by_reason(skipped: Iterable[BadRow]) -> dict[str, tuple[str, ...]]:
    """The messages of rows that were left out, under each reason."""
    messages: dict[str, tuple[str, ...]] = {}
    for bad in skipped:
        messages[bad.reason] = (*messages.get(bad.reason, ()), str(bad))
    return messages


def skipped_lines(messages: dict[str, tuple[str, ...]]) -> list[str]:
    """How many rows were left out, and for each reason how many and the first of them."""
    count = sum(len(found) for found in messages.values())
    lines = [f"rows left out: {count}"] if count else []
    return lines + [
        f"{len(found):8d}  {reason}   e.g. {found[0]}" for reason, found in messages.items()
    ]
