"""What a run's lists and filters need of its groups, in memory, kept up with a run that goes on."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from shared.errors import UserError
from shared.records.group_index import (
    FILE,
    INDEX_SCHEMA,
    file_sizes,
    only_files,
    read_for_index,
    read_index,
)
from shared.records.groups import SCHEMA, check_file, groups_folder

_BUDGET_S = 0.5
"""A page waits this long for files that are not in memory yet; a thread reads the rest."""
_PATIENCE_S = 20.0
"""The page of one group waits this long for its file to be read."""
_TURN_S = 0.25
"""The thread reads for so long before it shows what it has, and lets a page be made."""


@dataclass(frozen=True)
class Selection:
    """Which groups an export shows."""

    step: int | None = None
    limit: int | None = None
    """The newest so many."""


@dataclass(frozen=True)
class Indexed:
    """The groups that are known now."""

    table: pa.Table
    """With `INDEX_SCHEMA`, in the order of steps and group ids."""
    unread: int
    """Files that are not read yet; the newest are read first."""
    problems: tuple[str, ...]
    """A line for each file that cannot be read."""


class GroupIndex:
    """The groups of one run."""

    def __init__(self, run_dir: Path, selection: Selection | None = None) -> None:
        self._run_dir = run_dir
        self._selection = selection
        self._lock = threading.Lock()
        self._table = INDEX_SCHEMA.empty_table()
        self._sizes: dict[str, int] = {}
        """Of the files in the table."""
        self._broken: dict[str, tuple[int, str]] = {}
        """Files that cannot be read: their sizes, and why."""
        self._unread = 0
        self._reader: threading.Thread | None = None
        self._complete = selection is not None

    def read(self, whole: bool = False) -> Indexed:
        """What is known, after reading what is new for at most half a second.

        Args:
            whole: all groups, also those that an export does not show.
        """
        with self._lock:
            budget_s = float("inf") if self._complete else _BUDGET_S
            self._catch_up(time.monotonic() + budget_s)
            if self._unread and self._reader is None:
                self._reader = threading.Thread(target=self._read_on, daemon=True)
                self._reader.start()
            problems = tuple(why for _, why in self._broken.values())
            table = self._table if whole else self._selected()
            return Indexed(table, self._unread, problems)

    def rows(self, names: list[str], columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """Whole groups, read from their files.

        Args:
            names: their ids; one that is not known has no row.
            columns: the ones to read; default: all.

        Raises:
            UserError: when a file of theirs has been damaged since it was indexed.
        """
        wanted = pa.array(names, pa.string())
        found = self._known(wanted)
        folder = groups_folder(self._run_dir)
        for name in dict.fromkeys(found[FILE].to_pylist()):
            yield from _read_rows(folder / name, wanted, columns)

    def _known(self, ids: pa.Array) -> pa.Table:
        """The rows of these groups in the index, after waiting for them when files are unread."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            known = self.read()
            found = known.table.filter(pc.is_in(known.table["group_id"], ids))
            if found.num_rows == len(ids) or not known.unread or time.monotonic() > until:
                return found

    def _read_on(self) -> None:
        while True:
            with self._lock:
                self._catch_up(time.monotonic() + _TURN_S)
                if not self._unread:
                    self._reader = None
                    return

    def _catch_up(self, until: float) -> None:
        now = file_sizes(self._run_dir)
        self._forget(now)
        new = {name: size for name, size in now.items() if self._sizes.get(name) != size}
        tables = []
        for table in read_index(self._run_dir, dict(new)):
            if table.num_rows:
                tables.append(table)
                for name in table[FILE].unique().to_pylist():
                    self._sizes[name] = new.pop(name)
            if time.monotonic() > until:
                break
        left = [name for name in new if self._broken.get(name, (None, ""))[0] != new[name]]
        for _ in range(len(left)):
            tables += self._read_file(left.pop(), new)
            if time.monotonic() > until:
                break
        self._unread = len(left)
        if tables:
            merged = pa.concat_tables([self._table, *tables]).combine_chunks()
            self._table = merged.sort_by([("step", "ascending"), ("group_id", "ascending")])

    def _read_file(self, name: str, sizes: dict[str, int]) -> list[pa.Table]:
        try:
            table = read_for_index(groups_folder(self._run_dir) / name)
        except FileNotFoundError:
            return []
        except UserError as error:
            self._broken[name] = (sizes[name], str(error))
            return []
        self._sizes[name] = sizes[name]
        return [table]

    def _forget(self, now: dict[str, int]) -> None:
        """Drop the rows of files that are gone or have changed."""
        kept = {name: size for name, size in self._sizes.items() if now.get(name) == size}
        if len(kept) < len(self._sizes):
            self._table = only_files(self._table, kept)
            self._sizes = kept
        self._broken = {name: one for name, one in self._broken.items() if name in now}

    def _selected(self) -> pa.Table:
        chosen, table = self._selection, self._table
        if chosen is not None and chosen.step is not None:
            table = table.filter(pc.equal(table["step"], chosen.step))
        if chosen is not None and chosen.limit is not None:
            table = table.slice(max(0, table.num_rows - chosen.limit))
        return table


def _read_rows(file: Path, ids: pa.Array, columns: list[str] | None) -> list[dict[str, Any]]:
    try:
        check_file(file)
        source = ds.dataset(str(file), format="parquet", schema=SCHEMA)
        where = ds.field("group_id").isin(ids)
        return source.to_table(columns=columns, filter=where).to_pylist()
    except FileNotFoundError:
        # The run has deleted an old step meanwhile.
        return []
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file}: cannot be read ({str(error).partition(chr(10))[0]})") from None
