"""Rows of data files on this machine: parquet, JSON or JSON lines, one file or many shards.

Parquet is streamed by the `datasets` library. JSON is read here: that library gives a column one
type for all rows, so that one row of another shape changes the others, and a broken line ends the
file.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import UserError

SUFFIXES = (".parquet", ".jsonl", ".json")

_SPLIT = re.compile(r"(train|test|testmini|val|validation|dev)(?=[-._]|$)")


class BadRow(UserError):
    """A row that does not fit its format: says file, row and column.

    Attributes:
        reason: a few words that such rows are counted under.
    """

    def __init__(self, file: Path, row: int, column: str, reason: str, problem: str) -> None:
        super().__init__(f"{file}, row {row}, column '{column}': {problem}")
        self.reason = f"{column}: {reason}"


@dataclass(frozen=True)
class Row:
    """One row, and where it stands."""

    file: Path
    number: int
    """Counted from 1 within the file; of JSON lines, the line."""
    values: dict[str, Any]

    def bad(self, column: str, reason: str, problem: str | None = None) -> BadRow:
        """The error to raise when `column` does not fit; `reason` is the same for all alike."""
        return BadRow(self.file, self.number, column, reason, problem or reason)

    def value(self, column: str) -> Any:
        """What stands in `column`, which must be there.

        Raises:
            BadRow: when the row has no such column, or nothing in it.
        """
        value = self.values.get(column)
        if value is None:
            known = ", ".join(sorted(self.values))[:200]
            raise self.bad(column, "is missing", f"is missing; the row has {known}")
        return value

    def cell(self, column: str) -> Any:
        """As `value`, but there may be nothing in it: None.

        Raises:
            BadRow: when the row has no such column.
        """
        return self.values[column] if column in self.values else self.value(column)

    def text(self, column: str, *, empty: bool = False) -> str:
        """The text (or number, as text) in `column`, without white space around it.

        Args:
            empty: whether there may be nothing in it: "".

        Raises:
            BadRow: when it is missing, empty or something else.
        """
        value = self.cell(column) if empty else self.value(column)
        return "" if empty and value in (None, "") else self.as_text(value, column)

    def one_of(self, column: str, allowed: Sequence[str]) -> str:
        """The text in `column`, which must be one of `allowed`.

        Raises:
            BadRow: when it is another.
        """
        value = self.text(column)
        if value not in allowed:
            raise self.bad(column, f"'{value[:60]}' is none of {', '.join(allowed)}")
        return value

    def items(self, column: str) -> list[Any]:
        """The list in `column`; nothing there is an empty one.

        Raises:
            BadRow: when it is something else.
        """
        value = self.cell(column)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.bad(column, "is no list", f"must be a list, not {type(value).__name__}")
        return value

    def texts(self, column: str) -> list[str]:
        """The list of texts in `column`.

        Raises:
            BadRow: when it is something else.
        """
        values = self.items(column)
        for value in values:
            if not isinstance(value, str):
                problem = f"must hold texts, not {type(value).__name__}"
                raise self.bad(column, "holds no texts", problem)
        return [value.strip() for value in values]

    def as_text(self, value: Any, column: str) -> str:
        """As `text`, for a value found inside `column`."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.bad(column, "is not text", f"must be text, not {type(value).__name__}")
        if not value.strip():
            raise self.bad(column, "is empty")
        return value.strip()


def find_files(path: Path, split: str | None) -> list[Path]:
    """The data files at `path` (a file, a folder or a pattern), in order of their names.

    Shards are recognised as a split's by their names (``train-00000-of-00002.parquet``) or their
    folder's (``test/0000.parquet``).

    Raises:
        UserError: when there is none.
    """
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.suffix in SUFFIXES]
    elif re.search(r"[*?\[]", str(path)):
        files = [file for file in _glob(path) if file.is_file()]
    else:
        raise UserError(f"{path}: no such data file or folder")
    unknown = [file for file in files if file.suffix not in SUFFIXES]
    if unknown:
        raise UserError(f"{unknown[0]}: is none of {', '.join(SUFFIXES)}")
    if split is not None:
        files = [file for file in files if split_of(file) == split]
    if not files:
        kind = "" if split is None else f" of split '{split}'"
        raise UserError(f"{path}: holds no {', '.join(SUFFIXES)} files{kind}")
    return files


def _glob(pattern: Path) -> list[Path]:
    anchor = Path(pattern.anchor)
    return sorted(anchor.glob(str(pattern.relative_to(anchor))))


def split_of(file: Path) -> str | None:
    """The split that a file, or its folder, is named after; None without one."""
    for name in (file.name, file.parent.name):
        match = _SPLIT.match(name)
        if match is not None:
            return match[1]
    return None


def read_rows(file: Path) -> Iterator[Row | BadRow]:
    """The rows of one file, in order; in place of a row that cannot be read, its error.

    Raises:
        UserError: when the file cannot be read as a whole.
    """
    readers = {".parquet": _parquet, ".jsonl": _json_lines, ".json": _json}
    for number, values in readers[file.suffix](file):
        yield values if isinstance(values, BadRow) else row_of(file, number, values)


def row_of(file: Path, number: int, values: Any) -> Row | BadRow:
    """The row that `values` are, or the error that says that they are none."""
    if isinstance(values, dict):
        return Row(file, number, values)
    return BadRow(file, number, "row", "is no object", "must be an object with columns")


def _parquet(file: Path) -> Iterator[tuple[int, Any]]:
    # Slow to import: only where parquet is read.
    import datasets
    import pyarrow

    # It names the file in its own log too, on several lines.
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    number = 0
    try:
        # The library leaves a lock file in its cache even when it caches nothing.
        with tempfile.TemporaryDirectory() as cache:
            stream = datasets.Dataset.from_parquet(str(file), streaming=True, cache_dir=cache)
        # Pictures as the bytes or paths that lie in the file.
        for values in stream.decode(False):
            number += 1
            yield number, values
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        short = " ".join(str(error).split())[:200]
        raise UserError(f"{file}, after row {number}: cannot be read ({short})") from None


def _json_lines(file: Path) -> Iterator[tuple[int, Any]]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, _parsed(line, file, number)
    except OSError as error:
        raise UserError(f"{file}: cannot read the data file ({error.strerror})") from None


def _parsed(line: bytes, file: Path, number: int) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        return BadRow(file, number, "row", "is not JSON", f"is not JSON ({error.msg})")
    except UnicodeDecodeError:
        return BadRow(file, number, "row", "is not UTF-8 text", "is not UTF-8 text")
    except RecursionError:
        return BadRow(file, number, "row", "is not JSON", "is not JSON (nested too deeply)")


def _json(file: Path) -> Iterator[tuple[int, Any]]:
    """The items of one list; a file of JSON lines may end in ``.json`` too."""
    try:
        with file.open("rb") as stream:
            start = stream.read(1024).lstrip()
    except OSError as error:
        raise UserError(f"{file}: cannot read the data file ({error.strerror})") from None
    if start.startswith(b"{"):
        yield from _json_lines(file)
        return
    whole = read_json(file)
    if not isinstance(whole, list):
        raise UserError(f"{file}: must hold a list of rows, or one row a line")
    yield from enumerate(whole, start=1)


def read_json(file: Path) -> Any:
    """The one document that a file holds.

    Raises:
        UserError: when it cannot be read or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot read the data file ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{file}, line {error.lineno}: not JSON ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{file}: not JSON (nested too deeply)") from None
