"""Reads the rows of data files on this machine: parquet, JSON or JSON lines, one file or shards.

Arrow reads parquet, a few rows at a time. JSON is read here, because Arrow gives a column one type
for all rows (so a row of another shape changes the others) and stops at a broken line.
"""

import codecs
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from shared.errors import UserError
from shared.formats.decimals import shortest_decimals
from shared.formats.hub import hub_files, is_hub
from shared.jsonlines import NotJson, no_object, parse_document, parse_json, pretty_printed
from shared.words import what

SUFFIXES = (".parquet", ".jsonl", ".json")

# Rows may hold pictures of megabytes.
_ROWS_AT_ONCE = 64
_SPLIT = re.compile(r"(train|test|testmini|val|validation|dev)(?=[-._]|$)")


Unit = Literal["row", "line"]
"""What is counted in a data file: lines in JSON lines, rows elsewhere."""


def spot(file: Path, number: int, unit: Unit = "row", column: str = "") -> str:
    """A place in a data file, as all messages name it: "x.parquet, row 2, column 'answer'"."""
    named = f", {'field' if unit == 'line' else 'column'} '{column}'" if column else ""
    return f"{file}, {unit} {number}{named}"


class BadRow(UserError):
    """A row that does not fit its format; the message names file, row and column.

    Args:
        column: empty when it is the row as a whole.

    Attributes:
        reason: a few words, the same for all rows with this problem, to count them by.
    """

    def __init__(
        self,
        file: Path,
        row: int,
        column: str,
        reason: str,
        problem: str,
        unit: Unit = "row",
    ) -> None:
        super().__init__(f"{spot(file, row, unit, column)}: {problem}")
        self.reason = f"{column or 'row'}: {reason}"

    def with_hint(self, hint: str) -> "BadRow":
        """The same error with more at the end of its message."""
        if hint:
            self.args = (f"{self}; {hint}",)
        return self


@dataclass(frozen=True)
class Row:
    """One row, with its file and number."""

    file: Path
    number: int
    """Counted from 1 within the file; the line number in JSON lines."""
    values: dict[str, Any]
    unit: Unit = "row"
    """What `number` counts."""

    @property
    def columns(self) -> str:
        """What the values of a row are called, in the plural."""
        return "fields" if self.unit == "line" else "columns"

    def bad(self, column: str, reason: str, problem: str | None = None) -> BadRow:
        """The error to raise when `column` does not fit.

        Args:
            reason: the same for all rows with this problem.
            problem: what is wrong with this row; default: `reason`.
        """
        return BadRow(self.file, self.number, column, reason, problem or reason, self.unit)

    def value(self, column: str) -> Any:
        """The value of `column`.

        Raises:
            BadRow: when the row does not have the column, or its value is null.
        """
        value = self.values.get(column)
        if value is None:
            raise self.missing(column)
        return value

    def missing(self, column: str, hint: str = "") -> BadRow:
        """The error to raise when there is no `column`; it names those that there are."""
        known = ", ".join(sorted(self.values))[:200]
        problem = f"is missing; the {self.unit} has {self.columns} {known}"
        return self.bad(column, "is missing", f"{problem}; {hint}" if hint else problem)

    def cell(self, column: str) -> Any:
        """As `value`, but the value may be None.

        Raises:
            BadRow: when the row does not have the column.
        """
        return self.values[column] if column in self.values else self.value(column)

    def text(self, column: str, *, empty: bool = False) -> str:
        """The text (or number, as text) in `column`, without white space around it.

        Args:
            empty: allow null and empty text, and return "" for them.

        Raises:
            BadRow: when the value is missing, empty or neither text nor a number.
        """
        value = self.cell(column) if empty else self.value(column)
        return "" if empty and value in (None, "") else self.as_text(value, column)

    def one_of(self, column: str, allowed: Sequence[str]) -> str:
        """The text in `column`, which must be one of `allowed`.

        Raises:
            BadRow: when it is not.
        """
        value = self.text(column)
        if value not in allowed:
            reason = f"is not one of {', '.join(allowed)}"
            raise self.bad(column, reason, f"'{value[:60]}' {reason}")
        return value

    def items(self, column: str) -> list[Any]:
        """The list in `column`; null is an empty list.

        Raises:
            BadRow: when the value is not a list.
        """
        value = self.cell(column)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.bad(column, "is not a list", f"must be a list, not {what(value)}")
        return value

    def texts(self, column: str) -> list[str]:
        """The list of texts in `column`, each without white space around it.

        Raises:
            BadRow: when the value is not a list of texts.
        """
        values = self.items(column)
        for value in values:
            if not isinstance(value, str):
                problem = f"must be a list of texts, but has {what(value)}"
                raise self.bad(column, "is not a list of texts", problem)
        return [value.strip() for value in values]

    def as_text(self, value: Any, column: str) -> str:
        """As `text`, for a value inside `column`."""
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return self._number(value, column)
        if not isinstance(value, str):
            problem = f"must be text, not {what(value)}"
            if isinstance(value, list):
                turns = bool(value) and all(isinstance(one, dict) for one in value)
                problem += (
                    "; these are turns of a conversation: give the question as one text"
                    if turns
                    else "; keep one of them, or join them into one text"
                )
            raise self.bad(column, "is not text", problem)
        if not value.strip():
            raise self.bad(column, "is empty")
        return value.strip()

    def _number(self, value: int | float | Decimal, column: str) -> str:
        """A number in decimal form, without an exponent."""
        if not math.isfinite(value):
            raise self.bad(column, "is not a number", f"is not a number ({value})")
        text = str(value)
        return format(Decimal(text), "f") if "e" in text.lower() else text


def find_files(path: Path, split: str | None) -> list[Path]:
    """The data files at `path` (a file, a folder, a pattern, or a data set of the Hugging Face
    Hub, as in ``hub.py``), sorted by name.

    Args:
        split: only files that are named after this split (``train-00000-of-00002.parquet``) or lie
            in a folder that is (``test/0000.parquet``).

    Raises:
        UserError: when there are none.
    """
    if is_hub(path):
        return hub_files(path)
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
        raise UserError(f"{unknown[0]}: must end in one of {', '.join(SUFFIXES)}")
    if not files:
        raise UserError(f"{path}: found no {', '.join(SUFFIXES)} files")
    return files if split is None else _of_split(files, split, path)


def _of_split(files: list[Path], split: str, path: Path) -> list[Path]:
    chosen = [file for file in files if split_of(file) == split]
    if not chosen:
        known = sorted({named for file in files if (named := split_of(file))})
        there = (
            f"there are those of {', '.join(known)}"
            if known
            else "no name of a file or folder there begins with a split's; leave out split"
        )
        raise UserError(f"{path}: found no {', '.join(SUFFIXES)} files of split '{split}'; {there}")
    return chosen


def _glob(pattern: Path) -> list[Path]:
    anchor = Path(pattern.anchor)
    return sorted(anchor.glob(str(pattern.relative_to(anchor))))


def split_of(file: Path) -> str | None:
    """The split that a file or its folder is named after; None when neither is."""
    for name in (file.name, file.parent.name):
        match = _SPLIT.match(name)
        if match is not None:
            return match[1]
    return None


Read = tuple[Unit, int, Any]
"""What a number counts, the number, and the values there."""


def read_rows(file: Path) -> Iterator[Row | BadRow]:
    """The rows of one file, in order; for a row that cannot be read, its error instead.

    Raises:
        UserError: when the whole file cannot be read.
    """
    readers = {".parquet": _parquet, ".jsonl": _json_lines, ".json": _json}
    for unit, number, values in readers[file.suffix](file):
        yield values if isinstance(values, BadRow) else row_of(file, number, values, unit)


def row_of(file: Path, number: int, values: Any, unit: Unit = "row") -> Row | BadRow:
    """`values` as a row, or the error when they are `NotJson` or not an object."""
    if isinstance(values, dict):
        return Row(file, number, values, unit)
    if isinstance(values, NotJson):
        return BadRow(file, number, "", "is not JSON", f"is {values}", unit)
    problem = no_object(values)
    if isinstance(values, list) and unit == "line":
        problem += ", or end the name of a file that is one list in .json"
    return BadRow(file, number, "", "is not an object", problem, unit)


def _parquet(file: Path) -> Iterator[Read]:
    # Slow to import, so only when parquet is read.
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE):
                for values in shortest_decimals(batch).to_pylist():
                    number += 1
                    yield "row", number, values
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        short = " ".join(str(error).split())[:200]
        raise UserError(f"{file}, after row {number}: cannot be read ({short})") from None


def _json_lines(file: Path) -> Iterator[Read]:
    """The values of the lines; or, when the first is no JSON, those of a pretty-printed file."""
    first = True
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                value = _parsed(line, file, number)
                values = _pretty_printed(file) if first and isinstance(value, NotJson) else None
                if values is not None:
                    yield from values
                    return
                first = False
                yield "line", number, value
    except OSError as error:
        raise UserError(f"{file}: cannot read the data file ({error.strerror})") from None


def _pretty_printed(file: Path) -> list[Read] | None:
    """As `pretty_printed`; rows are counted where two of them start on one line."""
    try:
        values = pretty_printed(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        return None
    if values is None:
        return None
    if len({line for line, _ in values}) < len(values):
        values = [(number, value) for number, (_, value) in enumerate(values, start=1)]
    # The lines of a list's items are not known.
    return [("row", number, value) for number, value in values]


def _parsed(line: bytes, file: Path, number: int) -> Any:
    try:
        return parse_json(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return BadRow(file, number, "", "is not UTF-8 text", "is not UTF-8 text", "line")
    except NotJson as error:
        return error


def _json(file: Path) -> Iterator[Read]:
    """The items of one list; JSON lines and single objects may also be named ``.json``."""
    try:
        with file.open("rb") as stream:
            start = stream.read(1024).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError as error:
        raise UserError(f"{file}: cannot read the data file ({error.strerror})") from None
    if start.startswith(b"{"):
        yield from _json_lines(file)
        return
    whole = read_json(file)
    if not isinstance(whole, list):
        raise UserError(f"{file}: must be a list of rows, or have one row per line")
    for number, values in enumerate(whole, start=1):
        yield "row", number, values


def read_json(file: Path) -> Any:
    """The JSON document in a file, as `shared.jsonlines.parse_document` gives it.

    Raises:
        UserError: when the file cannot be read or is not JSON.
    """
    try:
        return parse_document(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{file}: cannot read the data file ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text at byte {error.start}") from None
    except NotJson as error:
        raise UserError(f"{file}, line {error.line}: {error}") from None
