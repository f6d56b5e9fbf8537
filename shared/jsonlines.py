"""Reading a JSON-lines file that a user wrote, with errors that name the file and the line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.files import what_else
from shared.words import what

_GAP = re.compile(r"\s*")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_LONG = "has a whole number of thousands of digits"


class NotJson(ValueError):
    """Text that is no JSON, or whose values no program could write again; says why in a few words.

    Attributes:
        line: the line of the text, from 1.
    """

    def __init__(self, reason: str, line: int = 1) -> None:
        super().__init__(f"not JSON ({reason})")
        self.line = line


class _TooLong:
    """Stands for a whole number that Python does not read."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        NotJson: also for a whole number that is too long for Python, and for half of a surrogate
            pair (``\\ud83d`` alone), which is no character and cannot be written as UTF-8.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise NotJson(error.msg, error.lineno) from None
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except ValueError:
        raise NotJson(_LONG) from None
    value = _held(value) if _HALF.search(text) else value
    if isinstance(value, NotJson):
        raise value
    return value


def parse_document(text: str) -> Any:
    """As `parse_json`, but an item of a list with such a number or half is a `NotJson` instead.

    Raises:
        NotJson: when the whole text is no JSON.
    """
    try:
        return parse_json(text)
    except NotJson:
        try:
            value = _DECODER.decode(text)
        except (json.JSONDecodeError, RecursionError):
            value = None
        if not isinstance(value, list):
            raise
        return [_held(item) for item in value]


def no_object(value: Any) -> str:
    """Says of a value in the place of a row that it is no object, and what to do."""
    if isinstance(value, list):
        return "is a list, not an object: write one object a line (jq -c '.[]' FILE)"
    return f'must be an object with {{"field": value, ...}}, not {what(value)}'


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers, from 1, and the values of the lines; empty lines are skipped.

    A file of pretty-printed values is read too (`pretty_printed`).

    Raises:
        UserError: when the file cannot be read, is not UTF-8, or a line is not JSON.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot read the data file ({error.strerror})") from None
    except UnicodeDecodeError as error:
        words = what_else(content) or f"is not UTF-8 text at byte {error.start}"
        raise UserError(f"{path}: {words}") from None
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
            for place, value in values:
                if isinstance(value, NotJson):
                    raise UserError(f"{path}, line {place}: {value}") from None
                yield place, value
            return
        first = False
        yield number, value


def pretty_printed(text: str) -> list[tuple[int, Any]] | None:
    """The values of a text whose JSON goes over several lines, as ``jq .`` writes it.

    That is one value after another, or one list of values. Each comes with the number of the line
    on which it starts; the items of a list are counted instead. A value that `parse_json` refuses
    is a `NotJson`. None when the text is not so.
    """
    values, place, line = list[tuple[int, Any]](), 0, 1
    while gap := _GAP.match(text, place):
        line += text.count("\n", place, gap.end())
        if gap.end() == len(text):
            break
        try:
            value, place = _DECODER.raw_decode(text, gap.end())
        except (json.JSONDecodeError, RecursionError):
            return None
        values.append((line, value))
        line += text.count("\n", gap.end(), place)
    if len(values) == 1 and isinstance(values[0][1], list):
        values = list(enumerate(values[0][1], start=1))
    return [(number, _held(value)) for number, value in values]


def _parse(line: str, path: Path, number: int) -> Any:
    try:
        return parse_json(line)
    except NotJson as error:
        raise UserError(f"{path}, line {number}: {error}") from None


def _whole(digits: str) -> int | _TooLong:
    try:
        return int(digits)
    except ValueError:
        return _TooLong()


_DECODER = json.JSONDecoder(parse_int=_whole)


def _held(value: Any) -> Any:
    """The value, or `NotJson` when it could not be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):x}"
        return NotJson(f"has {half}, half of a surrogate pair, without its other half")
    except TypeError:
        return NotJson(_LONG)
    return value
