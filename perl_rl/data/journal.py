"""The journal of a stage: one line for each finished item, so that a killed stage goes on.

The first line names the work (a digest of input and settings); a journal of other work is begun
anew. A line counts once its end is written: what a kill tore off is cut away and done again.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from shared.errors import UserError

Entry = dict[str, Any]


class Journal:
    """Append-only; entries by sample id. Use it as a context manager."""

    def __init__(self, file: Path, work: str) -> None:
        self._file = file
        self.entries: dict[str, Entry] = {}
        size = self._read(work)
        self._stream = file.open("r+b" if size else "wb")
        self._stream.truncate(size)
        self._stream.seek(size)
        if not size:
            self._write({"work": work})

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def add(self, name: str, entry: Entry) -> None:
        """Enter a finished item; it outlives a kill of this process."""
        self.entries[name] = entry
        self._write({"id": name, "entry": entry})

    def _write(self, line: dict[str, Any]) -> None:
        self._stream.write(json.dumps(line).encode() + b"\n")
        self._stream.flush()

    def _read(self, work: str) -> int:
        """Take over the entries of the same work; returns the bytes that hold whole lines."""
        if not self._file.is_file():
            return 0
        size = 0
        with self._file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                row = self._parse(line, number)
                if number == 1:
                    if row.get("work") != work:
                        return 0
                else:
                    self.entries[row["id"]] = row["entry"]
                size += len(line)
        return size

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
            if isinstance(row, dict) and (
                "work" in row if number == 1 else {"id", "entry"} <= row.keys()
            ):
                return row
        except ValueError:
            pass
        raise UserError(
            f"{self._file}, line {number}: damaged; delete the file to begin the stage anew "
            "(answers in the cache are kept)"
        )
