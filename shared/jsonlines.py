"""Reading a JSON-lines file that a user wrote, with errors that name the file and the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.errors import UserError


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers, from 1, and the values of the lines; empty lines are skipped.

    Raises:
        UserError: when the file cannot be read, is not UTF-8, or a line is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot read the data file ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text at byte {error.start}") from None
    # Not splitlines(): it also splits at U+2028 and other characters that a text may contain.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _parse(line, path, number)


def _parse(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{path}, line {number}: not JSON (nested too deeply)") from None
