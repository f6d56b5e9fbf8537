"""The record's columns: what is written is read back, and bad files get one line."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from scripts.record_reference import FILE, reference
from shared.errors import UserError
from shared.records.groups import (
    COLUMNS,
    SCHEMA,
    as_table,
    file_name,
    group_files,
    groups_folder,
    image_file,
    read_groups,
    referenced_images,
    step_and_part,
    write_table,
)
from tests.group_records import MARKUP, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path, steps=3)
    return tmp_path


def test_what_is_written_is_read_back_in_the_order_of_the_steps(run: Path) -> None:
    table = read_groups(run)
    assert table.schema.names == [one.name for one in COLUMNS]
    assert table["step"].to_pylist() == sorted(table["step"].to_pylist())
    assert table["status"].to_pylist().count("trained") == 12
    ids = table["group_id"].to_pylist()
    assert len(set(ids)) == len(ids)


def test_lists_of_a_row_have_one_element_for_each_order_and_response(run: Path) -> None:
    for row in read_groups(run).to_pylist():
        for name, value in row.items():
            if name.startswith("order_"):
                assert len(value) == row["orders"], name
            if name.startswith("response_"):
                assert len(value) == row["responses"], name
        lengths = [len(ids) for ids in row["response_token_ids"]]
        assert lengths == row["response_tokens"]
        assert [len(one) for one in row["response_sampler_logprobs"]] == lengths


def test_some_columns_and_some_rows(run: Path) -> None:
    dropped = read_groups(run, ["group_id", "reason"], ds.field("status") == "dropped")
    assert dropped.column_names == ["group_id", "reason"]
    assert set(dropped["reason"].to_pylist()) == {"uniform_reward"}


def test_pandas_reads_the_folder_and_makes_a_row_for_each_response(run: Path) -> None:
    frame = pd.read_parquet(groups_folder(run))
    assert frame["responses"].sum() == len(
        frame.explode(["response_text", "response_original_answer", "response_reward"])
    )
    assert frame["response_text"].explode().str.contains(MARKUP, regex=False).any()


def test_datasets_reads_the_files(run: Path, tmp_path: Path) -> None:
    files = str(groups_folder(run) / "*.parquet")
    read = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "hf"))
    assert read["group_id"][:2] == ["g00000000", "g00000001"]


def test_the_images_of_the_rows_are_found(run: Path) -> None:
    shown = referenced_images([read_groups(run)])
    assert shown and all(image_file(run, one) for one in shown)
    assert image_file(run, "00" * 32) is None


def test_an_absent_column_is_null_and_an_unknown_one_is_refused() -> None:
    assert as_table([{"group_id": "g"}])["reward"].to_pylist() == [None]
    with pytest.raises(ValueError, match="no such column of a group's record: rewards"):
        as_table([{"group_id": "g", "rewards": 1.0}])


def test_a_file_s_name_says_its_step_and_part() -> None:
    assert step_and_part(Path(file_name(12, 3))) == (12, 3)
    assert step_and_part(Path("step-12.parquet")) is None


def test_a_file_without_a_newer_column_is_read_with_nulls(run: Path) -> None:
    file = group_files(groups_folder(run))[0]
    table = pq.read_table(file)
    write_table(table.drop_columns(["worst_accuracy"]), file)
    assert read_groups(run)["worst_accuracy"].null_count == table.num_rows


def line(run: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read_groups(run, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert (
        line(tmp_path / "none")
        == f"{tmp_path}/none: there is no such folder; name the folder of a run"
    )


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert line(tmp_path).startswith(f"{tmp_path}: no recorded groups (no groups/step-*.parquet ")


def test_a_step_that_is_deleted_while_it_is_read(run: Path) -> None:
    """A live run deletes old steps: the list is read again, and not for ever."""
    gone = groups_folder(run) / file_name(9, 0)
    gone.symlink_to(run / "deleted")
    assert "no recorded groups" in line(run)
    gone.unlink()
    assert read_groups(run).num_rows == 14


def test_no_history_was_lost(run: Path) -> None:
    assert "no groups.lost/step-*.parquet" in line(run, lost=True)


def test_a_half_written_file(run: Path) -> None:
    file = group_files(groups_folder(run))[1]
    file.write_bytes(file.read_bytes()[:-100])
    assert line(run).startswith(f"{file}: not a whole Parquet file (")


def test_columns_of_another_version(run: Path) -> None:
    file = group_files(groups_folder(run))[1]
    old = SCHEMA.with_metadata({b"perl_record_schema": b"0"})
    pq.write_table(pa.Table.from_pylist([], old), file)
    assert line(run).startswith(f"{file}: columns of version 0, this release reads version 1;")


def test_a_file_of_another_program(run: Path) -> None:
    file = groups_folder(run) / file_name(9, 0)
    pq.write_table(pa.table({"a": [1]}), file)
    assert line(run).startswith(f"{file}: columns of version none, this release reads version 1;")


def test_the_page_about_the_columns_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run: make docs"
