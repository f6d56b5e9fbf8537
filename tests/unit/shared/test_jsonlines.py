"""JSON lines as users write them: with marks, blank lines, or over several lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import UserError
from shared.jsonlines import (
    NotJson,
    parse_document,
    parse_json,
    pretty_printed,
    read_json_lines,
)

ROWS: list[dict[str, Any]] = [{"a": 1}, {"b": ["x", {"c": None}]}]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("\n".join(map(json.dumps, ROWS)), [1, 2]),
        ("\ufeff" + "\n\n".join(map(json.dumps, ROWS)), [1, 3]),
        ("\n".join(json.dumps(row, indent=2) for row in ROWS), [1, 4]),
        (json.dumps(ROWS, indent=2), [1, 2]),
        ('{"a": 1} ' + json.dumps(ROWS[1], indent=2), [1, 1]),
    ],
)
def test_values_come_with_their_lines(tmp_path: Path, text: str, numbers: list[int]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    assert list(read_json_lines(file)) == list(zip(numbers, ROWS, strict=False))


@pytest.mark.parametrize(
    ("text", "line"),
    [("{", 1), ("{\n", 1), ('{"a": 1}\n{\n"b": 2}', 2), ("[" * 100_000, 1)],
)
def test_what_is_no_json_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"rows\.jsonl, line {line}: not JSON"):
        list(read_json_lines(file))


@pytest.mark.parametrize("text", ["", "x", '{"a": 1}\nx', "[" * 100_000])
def test_other_text_is_not_pretty_printed(text: str) -> None:
    assert not pretty_printed(text)


LONG = "9" * 5000
UNREADABLE = [
    '{"a": "\\ud83d"}',
    '{"a": ["x", "\\uDC00 y"]}',
    '{"\\ud800": 1}',
    '{"a": "\\ude00\\ud83d"}',
    f'{{"a": {LONG}}}',
    f'{{"a": [1, {{"b": -{LONG}}}]}}',
]


@pytest.mark.parametrize("bad", UNREADABLE)
def test_a_number_or_a_half_that_nothing_can_hold_is_named_with_its_line(
    tmp_path: Path, bad: str
) -> None:
    file = tmp_path / "rows.jsonl"
    for text, line in [(bad, 1), (f'{{"a": 1}}\n\n{bad}', 3), (f"[\n1,\n{bad}]", 2)]:
        file.write_text(text)
        with pytest.raises(UserError, match=rf"rows\.jsonl, line {line}: not JSON \(has "):
            list(read_json_lines(file))
    assert [isinstance(one, NotJson) for one in parse_document(f"[{bad}, 1]")] == [True, False]


@pytest.mark.parametrize(
    "text",
    ['"\\ud83d\\ude00"', '"\\\\ud83d"', '"\\ud7ff"', '"\U0001f600"', "9" * 4300, "1e5000", "-0.5"],
)
def test_whole_pairs_and_long_numbers_are_read(text: str) -> None:
    assert parse_json(text) == json.loads(text)
