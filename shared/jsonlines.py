"""Reading a JSON-lines file that a user wrote, with errors that name the file and the line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.errors import UserError

_GAP = re.compile(r"\s*")


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers, from 1, and the values of the lines; empty lines are skipped.

    A file of pretty-printed values is read too (`pretty_printed`).

    Raises:
        UserError: when the file cannot be read, is not UTF-8, or a line is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot read the data file ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text at byte {error.start}") from None
    first = True
    # Not splitlines(): it also splits at U+2028 and other characters that a text may contain.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _parse(line, path, number)
        except UserError:
            values = pretty_printed(text) if first else None
            if values is None:
                raise
            yield from values
            return
        first = False
        yield number, value


def pretty_printed(text: str) -> list[tuple[int, Any]] | None:
    """The values of a text whose JSON goes over several lines, as ``jq .`` writes it.

    That is one value after another, or one list of values. Each comes with the number of the line
    on which it starts; the items of a list are counted instead. None when the text is not so.
    """
    decoder, values, place, line = json.JSONDecoder(), list[tuple[int, Any]](), 0, 1
    while gap := _GAP.match(text, place):
        line += text.count("\n", place, gap.end())
        if gap.end() == len(text):
            break
        try:
            value, place = decoder.raw_decode(text, gap.end())
        except (json.JSONDecodeError, RecursionError):
            return None
        values.append((line, value))
        line += text.count("\n", gap.end(), place)
    if len(values) == 1 and isinstance(values[0][1], list):
        return list(enumerate(values[0][1], start=1))
    return values


def _parse(line: str, path: Path, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{path}, line {number}: not JSON (nested too deeply)") from None
