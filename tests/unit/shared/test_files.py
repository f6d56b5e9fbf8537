"""A file appears whole or not at all, whoever else writes it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.files import make_folder, scratch_for, write_atomically


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


def alone(file: Path) -> bool:
    """Whether no scratch file is left beside it."""
    return list(file.parent.iterdir()) == [file]


def test_text_and_bytes_replace_what_was_there(file: Path) -> None:
    write_atomically(file, "ä\n")
    assert file.read_bytes() == "ä\n".encode()
    write_atomically(file, b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert alone(file)


def test_an_error_leaves_the_old_file_and_no_scratch(file: Path) -> None:
    write_atomically(file, "old")
    with pytest.raises(ZeroDivisionError), scratch_for(file) as scratch:
        scratch.write_text("half")
        assert file.read_text() == "old"
        raise ZeroDivisionError
    assert file.read_text() == "old"
    assert alone(file)


def test_concurrent_writers_do_not_disturb_each_other(file: Path) -> None:
    contents = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(len(contents)) as pool:
        for _ in range(10):
            list(pool.map(lambda content: write_atomically(file, content), contents))
            assert file.read_text() in contents
    assert alone(file)


@pytest.mark.parametrize("place", ["a-file/run", "/proc/run", "a-file"])
def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path, place: str) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(UserError) as refused:
        make_folder(tmp_path / place, "--run-dir")
    assert str(refused.value).startswith(f"--run-dir {tmp_path / place}: cannot write there (")


def test_a_folder_that_is_made_is_empty(tmp_path: Path) -> None:
    made = make_folder(tmp_path / "a" / "b", "--out")
    assert list(made.iterdir()) == []
    (made / "kept").touch()
    make_folder(made, "--out")
    assert [file.name for file in made.iterdir()] == ["kept"]
