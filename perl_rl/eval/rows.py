"""Rows of a benchmark's local files: parquet, JSON or JSON lines, one file or a folder of shards.

What does not fit is refused with file, row and column.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.jsonlines import read_json_lines

_SUFFIXES = (".parquet", ".jsonl", ".json")
_BATCH_ROWS = 64


@dataclass(frozen=True)
class Row:
    """One row, and where it stands."""

    file: Path
    number: int
    """Counted from 1 within the file; of JSON lines, the line."""
    values: dict[str, Any]

    def refusal(self, column: str, problem: str) -> UserError:
        """The error to raise when `column` does not fit."""
        return UserError(f"{self.file}, row {self.number}, column '{column}': {problem}")

    def value(self, column: str) -> Any:
        """What stands in `column`, which must be there.

        Raises:
            UserError: when the row has no such column.
        """
        if column not in self.values:
            known = ", ".join(sorted(self.values))[:200]
            raise self.refusal(column, f"is missing; the row has {known}")
        return self.values[column]

    def text(self, column: str, *, empty: bool = False) -> str:
        """The text (or number, as text) in `column`; with `empty`, nothing there is "".

        Raises:
            UserError: when it is something else.
        """
        value = self.value(column)
        if value is None and empty:
            return ""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.refusal(column, f"must be text, not {type(value).__name__}")
        if not value.strip() and not empty:
            raise self.refusal(column, "is empty")
        return value.strip()

    def one_of(self, column: str, allowed: Sequence[str]) -> str:
        """The text in `column`, which must be one of `allowed`.

        Raises:
            UserError: when it is another.
        """
        value = self.text(column)
        if value not in allowed:
            raise self.refusal(column, f"'{value[:60]}' is none of {', '.join(allowed)}")
        return value

    def items(self, column: str) -> list[Any]:
        """The list in `column`; nothing there is an empty one.

        Raises:
            UserError: when it is something else.
        """
        value = self.value(column)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refusal(column, f"must be a list, not {type(value).__name__}")
        return value

    def texts(self, column: str) -> list[str]:
        """The list of texts in `column`.

        Raises:
            UserError: when it is something else.
        """
        values = self.items(column)
        for value in values:
            if not isinstance(value, str):
                raise self.refusal(column, f"must hold texts, not {type(value).__name__}")
        return [value.strip() for value in values]


def find_files(data: Path, split: str) -> list[Path]:
    """The data files at `data`: itself, or those of `split` in the folder and below, in order.

    Shards are recognised by their names (``val-00000-of-00002.parquet``, ``testmini.json``) or
    their folder's (``test/0000.parquet``). Where no file is named after any split, all are taken.

    Raises:
        UserError: when there is none.
    """
    if data.is_file():
        if data.suffix not in _SUFFIXES:
            raise UserError(f"{data}: is none of {', '.join(_SUFFIXES)}")
        return [data]
    if not data.is_dir():
        raise UserError(f"{data}: no such file or folder; --data names the benchmark's files")
    for suffix in _SUFFIXES:
        files = sorted(data.rglob(f"*{suffix}"))
        if files:
            return _of_split(files, split, data)
    raise UserError(f"{data}: holds no {', '.join(_SUFFIXES)} files")


def _of_split(files: list[Path], split: str, data: Path) -> list[Path]:
    splits = [_split_of(file) for file in files]
    if split in splits:
        return [file for file, named in zip(files, splits, strict=True) if named == split]
    if any(splits):
        found = ", ".join(sorted({named for named in splits if named}))
        raise UserError(f"{data}: holds no files of split '{split}', only {found}; see --split")
    return files


_SPLIT = re.compile(r"(train|test|testmini|val|validation|dev)(?:[-._]|$)")


def _split_of(file: Path) -> str | None:
    for name in (file.name, file.parent.name):
        match = _SPLIT.match(name)
        if match is not None:
            return match[1]
    return None


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of one file.

    Raises:
        UserError: when the file cannot be read, or a row is no mapping from columns to values.
    """
    readers = {".parquet": _parquet_rows, ".jsonl": _line_rows, ".json": _json_rows}
    for number, values in readers[file.suffix](file):
        if not isinstance(values, dict):
            raise UserError(f"{file}, row {number}: must be an object with columns as keys")
        yield Row(file, number, values)


def _parquet_rows(file: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield number, values
    except (OSError, pyarrow.ArrowException) as error:
        short = " ".join(str(error).split())[:200]
        raise UserError(f"{file}, after row {number}: cannot be read ({short})") from None


def _line_rows(file: Path) -> Iterator[tuple[int, Any]]:
    return read_json_lines(file)


def _json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """The items of a list, or the values of a mapping from ids to rows."""
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot read the data file ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{file}, line {error.lineno}: not JSON ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{file}: not JSON (nested too deeply)") from None
    rows = list(whole.values()) if isinstance(whole, dict) else whole
    if not isinstance(rows, list):
        raise UserError(f"{file}: must hold a list of rows, or a mapping from ids to rows")
    return iter(enumerate(rows, start=1))
