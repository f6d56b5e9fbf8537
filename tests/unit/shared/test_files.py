"""A file appears whole or not at all, whoever else writes it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.files import scratch_for, write_atomically


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
