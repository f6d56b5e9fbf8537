"""Measure how fast the view's pages come for a run of many groups.

Writes a made-up run (one file of 16 groups a step, as a run with 16 groups a step leaves it), then
asks for pages, first with the recorder's index and then without:

    python -m bench.view [--groups 100000] [--run-dir DIR]

A run that is in DIR already is used again.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fastapi.testclient import TestClient

from perl_rl.view.app import create_app
from shared.records.group_index import STEPS, IndexWriter, index_folder
from shared.records.groups import SCHEMA, as_table, file_name, groups_folder, write_table
from tests.group_records import made_up_row, write_run

PER_STEP = 16
DIFFERENT = 50 * PER_STEP
"""Groups that differ by more than their id and step."""

PAGES = {
    "first page": "/runs/0/groups",
    "again": "/runs/0/groups",
    "flipped": "/runs/0/groups?only=flipped",
    "words": "/runs/0/groups?text=largest",
    "filtered and sorted": "/runs/0/groups?only=flipped,trained&kind=letter&sort=reward",
    "words in responses": "/runs/0/groups?text=nine&deep=1",
    "one step": "/runs/0/steps/7",
    "one group": "/runs/0/groups/{newest}",
}


def main() -> None:
    """Write the run, and print the time of each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--run-dir", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = options.run_dir or Path(scratch) / "run"
        steps = -(-options.groups // PER_STEP)
        if not groups_folder(run).is_dir():
            _write(run, steps)
        _write_index(run, steps)
        newest = f"g{steps * PER_STEP - 1:08d}"
        print(f"{steps * PER_STEP} groups in {steps} files, with the index:")
        _print_times(run, newest)
        shutil.rmtree(index_folder(run))
        print("without it:")
        _print_times(run, newest)


def _write(run: Path, steps: int) -> None:
    write_run(run, steps=1, samples=200)
    names = [row["images"] for row in _rows(run)]
    made = [made_up_row(n, 1, names, n=6, dropped=n % 5 == 4) for n in range(DIFFERENT)]
    table = as_table(made)
    for step in range(1, steps + 1):
        some = table.slice((step * PER_STEP) % DIFFERENT, PER_STEP)
        ids = [f"g{(step - 1) * PER_STEP + one:08d}" for one in range(PER_STEP)]
        some = _with(_with(some, "group_id", ids), "step", [step] * PER_STEP)
        write_table(some, groups_folder(run) / file_name(step, 0))


def _rows(run: Path) -> Iterator[dict[str, list[str]]]:
    yield from pq.read_table(groups_folder(run)).to_pylist()


def _with(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    field = SCHEMA.field(name)
    place = table.schema.get_field_index(name)
    return table.set_column(place, field, pa.array(values, field.type))


def _write_index(run: Path, steps: int) -> None:
    writer = IndexWriter(run)
    began = time.perf_counter()
    for _ in range(steps // STEPS):
        writer.write_before(steps)
    print(f"the index: {time.perf_counter() - began:.1f} s, for {steps // STEPS} files of it")


def _print_times(run: Path, newest: str) -> None:
    pages = TestClient(create_app([run]), base_url="http://localhost")
    for name, path in PAGES.items():
        began, cpu = time.perf_counter(), time.process_time()
        answer = pages.get(path.format(newest=newest))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert answer.status_code == 200, path
        unread = ", files still unread" if "still being read" in answer.text else ""
        print(f"  {name:20} {took:5.2f} s, {cpu:5.2f} s CPU{unread}")


if __name__ == "__main__":
    main()
