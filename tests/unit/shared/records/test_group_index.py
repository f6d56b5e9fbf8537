"""The index of the record: it says what the files say, and nothing of files that have changed."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.trainer.control.record_folder import History, RecordFolder
from shared.records import group_index
from shared.records.group_index import (
    FILE,
    INDEX_SCHEMA,
    IndexWriter,
    file_sizes,
    index_file,
    index_folder,
    read_for_index,
    read_index,
)
from shared.records.groups import group_files, groups_folder
from tests.group_records import write_run

STEPS = 8
COMPLETE = STEPS + 2
"""Steps of the run: one file of the index is full."""


@pytest.fixture(autouse=True)
def short_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_index, "STEPS", STEPS)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    write_run(run, steps=COMPLETE, groups_per_step=1, n=1)
    return run


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    groups = groups_folder(tmp_path)
    groups.mkdir()
    for file in group_files(groups_folder(written)):
        (groups / file.name).hardlink_to(file)
    return tmp_path


def indexed(run: Path) -> pa.Table:
    return pa.concat_tables([INDEX_SCHEMA.empty_table(), *read_index(run, file_sizes(run))])


def test_the_index_says_what_the_files_say(run: Path) -> None:
    IndexWriter(run).write_before(COMPLETE)
    covered = [file for file in group_files(groups_folder(run)) if file.name < "step-00000008"]
    assert len(covered) == STEPS - 1, "steps begin at 1"
    assert indexed(run).equals(pa.concat_tables([read_for_index(file) for file in covered]))


def test_only_full_files_are_written(run: Path) -> None:
    IndexWriter(run).write_before(STEPS - 1)
    assert not index_folder(run).exists()


def test_rows_of_files_that_changed_or_are_gone_are_not_used(run: Path) -> None:
    IndexWriter(run).write_before(COMPLETE)
    first, second, *_ = group_files(groups_folder(run))
    first.unlink()
    table = pq.read_table(second)
    second.unlink()
    pq.write_table(pa.concat_tables([table, table]), second)
    names = indexed(run)[FILE].to_pylist()
    assert first.name not in names and second.name not in names
    assert len(set(names)) == STEPS - 3


def test_a_damaged_index_is_left_out(run: Path) -> None:
    IndexWriter(run).write_before(COMPLETE)
    index_file(run, 1).write_bytes(b"PAR1 half")
    assert indexed(run).num_rows == 0


def test_a_damaged_file_of_groups_stops_nothing(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = group_files(groups_folder(run))[3]
    file.unlink()
    file.write_bytes(b"PAR1 half")
    IndexWriter(run).write_before(COMPLETE)
    assert not index_folder(run).exists()
    assert file.name in caplog.text


def test_what_the_recorder_changes_leaves_the_index_first(run: Path) -> None:
    folder = RecordFolder(run, keep_steps=None)
    folder.open()
    folder.write_index(COMPLETE)
    assert indexed(run).num_rows > 0
    # The trainer goes on from a checkpoint of step 5: later groups are of a lost history.
    moved = folder.set_lost_aside(History(settled={}, step=5, incarnation=2))
    assert moved > 0 and indexed(run).num_rows == 0
    folder.write_index(COMPLETE)
    assert max(indexed(run)["step"].to_pylist()) == 5


def test_old_steps_leave_the_index(run: Path) -> None:
    folder = RecordFolder(run, keep_steps=1)
    folder.write_index(COMPLETE)
    folder.delete_old(COMPLETE)
    assert not index_file(run, 1).exists()
