"""The groups of a run in memory, while the run goes on."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from perl_rl.view import index
from perl_rl.view.index import GroupIndex, Selection
from shared.records.groups import as_table, file_name, group_files, groups_folder, write_table
from tests.group_records import write_run
from tests.waiting import wait_until


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path, steps=3)
    return tmp_path


def steps(known: index.Indexed) -> set[int]:
    return set(known.table["step"].to_pylist())


def test_new_steps_come_and_deleted_ones_go(
    run: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    groups = GroupIndex(run)
    assert steps(groups.read()) == {1, 2, 3}
    other = tmp_path_factory.mktemp("longer")
    write_run(other, steps=4)
    newest = group_files(groups_folder(other))[-1]
    newest.rename(groups_folder(run) / newest.name)
    group_files(groups_folder(run))[0].unlink()
    known = groups.read()
    assert steps(known) == {2, 3, 4}
    ids = known.table["group_id"].to_pylist()
    assert ids == sorted(ids) and len(ids) == len(set(ids))


def test_a_file_that_lost_groups_is_read_again(run: Path) -> None:
    groups = GroupIndex(run)
    before = groups.read().table.num_rows
    row = next(groups.rows(["g00000000"]))
    write_table(as_table([row]), groups_folder(run) / file_name(1, 0))
    after = groups.read().table
    assert after["step"].to_pylist().count(1) == 1 and after.num_rows < before


def test_files_that_cannot_be_read_are_named_and_the_others_shown(run: Path) -> None:
    (groups_folder(run) / file_name(4, 0)).write_bytes(b"PAR1 half written")
    known = GroupIndex(run).read()
    assert steps(known) == {1, 2, 3}
    (problem,) = known.problems
    assert file_name(4, 0) in problem and "delete it" in problem


def test_a_file_with_damaged_rows_is_named_and_the_others_shown(run: Path) -> None:
    folder = groups_folder(run)
    (_, second, *_) = sorted(folder.iterdir())
    data = second.read_bytes()
    # Its end is whole, so that it opens; all before it has moved.
    second.write_bytes(b"\xff\xfe" + data)
    found = GroupIndex(run).read()
    assert found.table.num_rows and len(found.problems) == 1
    assert f"{second}: not a whole Parquet file" in found.problems[0]


def test_files_of_another_release_are_named(run: Path) -> None:
    table = pq.read_table(group_files(groups_folder(run))[0])
    old = table.replace_schema_metadata({b"perl_record_schema": b"0"})
    pq.write_table(old, groups_folder(run) / file_name(9, 0))
    known = GroupIndex(run).read()
    assert steps(known) == {1, 2, 3}
    assert "columns of version 0, this release reads version 1" in known.problems[0]


def test_a_run_without_groups_has_none(tmp_path: Path) -> None:
    known = GroupIndex(tmp_path).read()
    assert known.table.num_rows == 0 and known.problems == () and known.unread == 0


def test_what_takes_longer_is_read_meanwhile_the_newest_first(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_BUDGET_S", -1.0)
    groups = GroupIndex(run)
    assert [row["group_id"] for row in groups.rows(["g00000000"])] == ["g00000000"], "it waits"
    groups = GroupIndex(run)
    first = groups.read()
    assert steps(first) == {3} and first.unread == 2
    wait_until(lambda: steps(groups.read()) == {1, 2, 3}, "the other files", 10)
    assert groups.read().unread == 0


def test_whole_groups_are_read_by_id(run: Path) -> None:
    rows = list(GroupIndex(run).rows(["g00000001", "g99999999"]))
    assert [row["group_id"] for row in rows] == ["g00000001"]
    assert len(rows[0]["response_text"]) == rows[0]["responses"] == 6


def test_a_selection_leaves_the_other_groups_out(run: Path) -> None:
    assert steps(GroupIndex(run, Selection(step=2)).read()) == {2}
    newest = GroupIndex(run, Selection(limit=2)).read().table["group_id"].to_pylist()
    every = GroupIndex(run).read().table["group_id"].to_pylist()
    assert newest == every[-2:]
