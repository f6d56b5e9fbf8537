"""A journal: one line for each finished item, so that work that was killed goes on where it stood.

The first line names the work; what becomes of a journal of other work is the caller's to say. A
line counts once its end is written: what a kill tore off is cut away and done again.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

from shared.errors import UserError

T = TypeVar("T")
Work = dict[str, Any]


class Journal(Generic[T]):
    """Append-only; entries, JSON values, by id. Use it as a context manager.

    Args:
        work: what the entries depend on, by name.
        other: whether a journal of other work is begun anew, or refused.

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
        """Enter a finished item; it outlives a kill of this process."""
        self.entries[name] = entry
        self._write({"id": name, "entry": entry})

    def _write(self, line: dict[str, Any]) -> None:
        # One write a line: lines of a killed process are whole, but for the last.
        self._stream.write(json.dumps(line).encode() + b"\n")
        self._stream.flush()

    def _read(self, work: Work, other: str) -> int:
        """Take over the entries of the same work; returns the bytes that hold whole lines."""
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
            f"{self._file}, line {number}: damaged; delete the file to begin anew (answers in a "
            "cache are kept)"
        )

    def _refuse(self, before: Work, now: Work) -> None:
        names = sorted(before.keys() | now.keys())
        name = next(name for name in names if before.get(name) != now.get(name))
        raise UserError(
            f"{self._file}: was begun with {name} {before.get(name)}, not {now.get(name)}; use the "
            "same settings, another --out, or remove the file"
        )
