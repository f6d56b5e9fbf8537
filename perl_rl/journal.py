"""A journal: one line for each finished item, so that work continues where it was killed.

The first line names the work; the caller chooses whether a journal of other work is replaced or
refused. A line that a kill cut short is removed, and its item is done again.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

from shared.errors import UserError

T = TypeVar("T")
Work = dict[str, Any]


class Journal(Generic[T]):
    """Entries, which are JSON values, by id. Use it as a context manager.

    Args:
        work: what the entries depend on, by name.
        other: what to do with a journal of other work: start a new one, or refuse.

    Raises:
        UserError: when the file is damaged, or refused.
    """

    def __init__(self, file: Path, work: Work, other: Literal["anew", "refused"]) -> None:
        self._file = file
        self.entries: dict[str, T] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        size = self._read(work, other)
        self._stream = file.open("r+b" if size else "wb")
        self._stream.truncate(size)
        self._stream.seek(size)
        if not size:
            self._write({"work": work})

    def __enter__(self) -> "Journal[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def add(self, name: str, entry: T) -> None:
        """Write a finished item, so that it survives a kill of this process."""
        self.entries[name] = entry
        self._write({"id": name, "entry": entry})

    def _write(self, line: dict[str, Any]) -> None:
        # One write for each line, so that a kill can cut short only the last one.
        self._stream.write(json.dumps(line).encode() + b"\n")
        self._stream.flush()

    def _read(self, work: Work, other: str) -> int:
        """Read the entries of the same work; returns how many bytes to keep."""
        if not self._file.is_file():
            return 0
        size = 0
        with self._file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                row = self._parse(line, number)
                if number > 1:
                    self.entries[row["id"]] = row["entry"]
                elif row["work"] != work:
                    if other == "anew":
                        return 0
                    self._refuse(row["work"], work)
                size += len(line)
        return size

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
            if isinstance(row, dict) and (
                isinstance(row.get("work"), dict) if number == 1 else {"id", "entry"} <= row.keys()
            ):
                return row
        except ValueError:
            pass
        raise UserError(
            f"{self._file}, line {number}: damaged; delete the file to start over (answers in a "
            "cache are kept)"
        )

    def _refuse(self, before: Work, now: Work) -> None:
        names = sorted(before.keys() | now.keys())
        name = next(name for name in names if before.get(name) != now.get(name))
        raise UserError(
            f"{self._file}: was started with {name} {before.get(name)}, not {now.get(name)}; use "
            "the same settings, choose another --out, or delete the file"
        )
