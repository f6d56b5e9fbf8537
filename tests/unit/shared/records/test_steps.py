"""The last line of ``metrics.jsonl``, and the page about its fields."""

from pathlib import Path

import pytest

from scripts.metrics_reference import FILE, reference
from shared.records.steps import StepRecord, last_record
from tests.unit.shared.records.rows import line


def test_the_last_whole_line_counts(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert last_record(file) is None
    file.write_text("")
    assert last_record(file) is None
    file.write_text(line(step=1) + line(step=2, reward=0.25) + '{"step": 3, "rew')
    found = last_record(file)
    assert found is not None and (found.step, found.reward) == (2, 0.25)


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    many = line(step=1, groups=[f"group-{number}" for number in range(4096)])
    file.write_text(many * 20 + line(step=21))
    found = last_record(file)
    assert found is not None and found.step == 21


def test_a_line_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"loss": 1}\n')
    with pytest.raises(ValueError, match="step"):
        last_record(file)


def test_the_page_about_the_fields_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run: make docs"
    assert "|  |" not in reference()
    assert len(StepRecord.model_fields) > 30
