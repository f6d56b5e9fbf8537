"""An index of the record: what lists and filters need of many groups, in few files.

A run of thousands of steps has as many files of groups, and to open each takes seconds. So the
recorder writes what a list shows of `STEPS` steps at a time to ``RUN/groups.index``. The index says
nothing of its own: each row names the file that it was read from and that file's size, and rows
whose file is gone or has changed are not used. Without it everything is read from the files.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.errors import UserError
from shared.files import scratch_for, sync_to_disk
from shared.records.groups import (
    GROUP_COLUMNS,
    SCHEMA,
    SCHEMA_VERSION,
    group_files,
    groups_folder,
    open_file,
    parts_of_name,
)

logger = logging.getLogger(__name__)

STEPS = 128
"""Steps in one file of the index."""

FILE, BYTES = "file", "bytes"
_LEFT_OUT = {"run", "detail", "incarnation", "issued_at", "scored_at"}
INDEXED = [one.name for one in GROUP_COLUMNS if one.name not in _LEFT_OUT]
"""The columns of a group that are in the index."""

INDEX_SCHEMA = pa.schema(
    [
        *(SCHEMA.field(name) for name in INDEXED),
        pa.field(FILE, pa.string()),
        pa.field(BYTES, pa.int64()),
    ],
    metadata={b"perl_record_schema": str(SCHEMA_VERSION).encode()},
)


def index_folder(run_dir: Path) -> Path:
    """Where a run's index is: ``RUN/groups.index``."""
    return run_dir / "groups.index"


def index_file(run_dir: Path, step: int) -> Path:
    """The file of the index that covers this step."""
    first = step - step % STEPS
    return index_folder(run_dir) / f"steps-{first:08d}.parquet"


def read_for_index(file: Path) -> pa.Table:
    """What the index holds of a file of groups.

    Raises:
        UserError: when it is not a whole file with columns that this release reads.
        FileNotFoundError: when it is not there any more.
    """
    with open_file(file) as opened:
        size = file.stat().st_size
        try:
            table = opened.read(columns=INDEXED, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise UserError(f"{file}: not a whole Parquet file ({reason}); delete it") from None
    here = {name: table[name] for name in table.column_names}
    rows = table.num_rows
    here[FILE] = pa.array([file.name] * rows, pa.string())
    here[BYTES] = pa.array([size] * rows, pa.int64())
    columns = [
        here.get(field.name, pa.nulls(rows, field.type)).cast(field.type) for field in INDEX_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=INDEX_SCHEMA)


def read_index(run_dir: Path, sizes: Mapping[str, int]) -> Iterator[pa.Table]:
    """The rows of the index whose files are as they were, the newest first.

    Args:
        sizes: of the files of groups that are wanted, by name, in bytes.
    """
    for first in sorted({step - step % STEPS for step in map(_step, sizes)}, reverse=True):
        file = index_file(run_dir, first)
        try:
            with open_file(file) as opened:
                table = opened.read()
        except (OSError, pa.ArrowException, UserError):
            # Damaged, not written yet, or of another release: the files of groups say the same.
            continue
        if table.schema.names == INDEX_SCHEMA.names:
            yield _valid(table, sizes)


def _valid(table: pa.Table, sizes: Mapping[str, int]) -> pa.Table:
    names, bytes_ = table[FILE].to_pylist(), table[BYTES].to_pylist()
    kept = [sizes.get(name) == size for name, size in zip(names, bytes_, strict=True)]
    return table.filter(pa.array(kept, pa.bool_()))


class IndexWriter:
    """Writes the index of one run; only its recorder does."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._done: set[int] = set()
        """Files of the index, by number, that need no more work."""

    def forget(self, step: int) -> None:
        """Delete what the index says of this step: its groups are about to change."""
        self._done.discard(step // STEPS)
        index_file(self._run_dir, step).unlink(missing_ok=True)

    def delete_before(self, step: int) -> None:
        """Delete the files of the index all of whose steps are before `step`."""
        for file in index_folder(self._run_dir).glob("steps-*.parquet"):
            if file.name < index_file(self._run_dir, step).name:
                file.unlink(missing_ok=True)

    def write_before(self, step: int) -> None:
        """Write the newest missing file of the index whose steps are all before `step`.

        One at a time, because a run from before there was an index may lack many.
        """
        wanted = set(range(step // STEPS)) - self._done
        if not wanted:
            return
        files: dict[int, list[Path]] = {}
        for file in group_files(groups_folder(self._run_dir)):
            files.setdefault(_step(file.name) // STEPS, []).append(file)
        self._done |= wanted - files.keys()
        if wanted & files.keys():
            number = max(wanted & files.keys())
            self._write(number * STEPS, files[number])
            self._done.add(number)

    def _write(self, first: int, files: list[Path]) -> None:
        there = index_file(self._run_dir, first)
        if there.exists():
            return
        try:
            tables = [read_for_index(file) for file in files]
        except UserError as error:
            logger.warning("no index of steps %d to %d: %s", first, first + STEPS - 1, error)
            return
        there.parent.mkdir(exist_ok=True)
        with scratch_for(there) as scratch:
            pq.write_table(
                pa.concat_tables(tables), scratch, compression="zstd", compression_level=1
            )
            sync_to_disk(scratch)


def _step(name: str) -> int:
    found = parts_of_name(name)
    assert found is not None
    return found[0]


def file_sizes(run_dir: Path) -> dict[str, int]:
    """The files of a run's groups by name, oldest step first, with their sizes in bytes."""
    sizes = {}
    try:
        with os.scandir(groups_folder(run_dir)) as entries:
            for entry in entries:
                # Deleted meanwhile: record.keep_steps.
                with suppress(FileNotFoundError):
                    if parts_of_name(entry.name):
                        sizes[entry.name] = entry.stat().st_size
    except FileNotFoundError:
        return {}
    return dict(sorted(sizes.items()))


def only_files(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """The rows of a table of the index that come from these files."""
    return table.filter(pc.is_in(table[FILE], pa.array(list(names), pa.string())))
