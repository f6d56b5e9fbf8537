"""How long the last start of a run took."""

from pathlib import Path

import pytest

from perl_rl.launch.start_times import FILE, keep_start_s, last_start_s


def test_each_run_has_its_own_time_in_the_parent_of_its_folder(tmp_path: Path) -> None:
    keep_start_s(tmp_path / "one", "a", 31.26)
    keep_start_s(tmp_path / "two", "b", 9.0)
    keep_start_s(tmp_path / "two", "b", 8.0)
    known = [last_start_s(tmp_path / "three", run) for run in ("a", "b", "c")]
    assert known == [31.3, 8.0, None]


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", '{"a": "long"}', '{"a": null}'])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert last_start_s(tmp_path / "run", "a") is None
    keep_start_s(tmp_path / "run", "a", 5.0)
    assert last_start_s(tmp_path / "run", "a") in (5.0, None)
