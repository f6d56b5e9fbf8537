"""Responses as they come, on disk: a run that was ended goes on where it stood.

The first line says what was asked of whom. A line that was cut off by a kill is dropped.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from shared.errors import UserError


class Journal:
    """A JSON-lines file of responses by key; use it as a context manager.

    Raises:
        UserError: on entering, when the file belongs to other settings.
    """

    def __init__(self, file: Path, settings: dict[str, Any]) -> None:
        self._file = file
        self._settings = settings
        self.responses: dict[str, str] = {}

    def __enter__(self) -> "Journal":
        self._file.parent.mkdir(parents=True, exist_ok=True)
        lines = self._complete_lines()
        if lines:
            self._compare(json.loads(lines[0])["settings"])
        for line in lines[1:]:
            entry = json.loads(line)
            self.responses[entry["key"]] = entry["response"]
        self._stream = self._file.open("a", encoding="utf-8")
        if not lines:
            self._append({"settings": self._settings})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def add(self, key: str, response: str) -> None:
        """Keep the response to `key`."""
        self.responses[key] = response
        self._append({"key": key, "response": response})

    def _append(self, entry: dict[str, Any]) -> None:
        # One write a line: lines of a killed process are whole, but for the last.
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()

    def _complete_lines(self) -> list[str]:
        if not self._file.exists():
            return []
        data = self._file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self._file.open("r+b") as stream:
                stream.truncate(len(whole))
        return whole.decode("utf-8").splitlines()

    def _compare(self, before: dict[str, Any]) -> None:
        for name in sorted(before.keys() | self._settings.keys()):
            was, now = before.get(name), self._settings.get(name)
            if was != now:
                raise UserError(
                    f"{self._file}: was begun with {name} {was}, not {now}; use the same settings, "
                    "another --out, or remove the file"
                )
