"""The files of the record, by step: rows are added, lost histories set aside, old steps deleted.

A file gets its name when it is complete, and its content changes only when a resumed run sets the
groups of a lost history aside. Adding a row a second time changes nothing.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.files import scratch_for
from shared.records.group_index import IndexWriter
from shared.records.groups import (
    SCHEMA,
    TRAINED,
    Row,
    as_table,
    file_name,
    group_files,
    groups_folder,
    lost_folder,
    referenced_images,
    step_and_part,
    write_table,
)

_IMAGES = ["images", "order_images"]
_IDENTITY = ["group_id", "incarnation"]
_STATE = ["group_id", "incarnation", "status", "step", "reason"]


@dataclass(frozen=True)
class History:
    """The history that survives: what a checkpoint holds, and what its trainer adds."""

    settled: Mapping[str, str]
    """`Ledger.settled` of the checkpoint."""
    step: int
    """Of the checkpoint. What was settled for a step up to it is in the checkpoint."""
    incarnation: int
    """Of the trainer that continues it."""

    def lost(self, table: pa.Table) -> pa.Array:
        """For each row, whether it belongs to another history."""
        columns = (table[name].to_pylist() for name in _STATE)
        return pa.array(
            [
                incarnation < self.incarnation
                and step > self.step
                and self.settled.get(name) != f"{status}:{step if status == TRAINED else reason}"
                for name, incarnation, status, step, reason in zip(*columns, strict=True)
            ],
            pa.bool_(),
        )


class StepFiles:
    """One folder of groups, in files by step.

    Args:
        changing: is called with a step before a file of it is written or given other rows.
    """

    def __init__(self, folder: Path, changing: Callable[[int], None] = lambda step: None) -> None:
        self._folder = folder
        self._changing = changing
        self._known: dict[int, set[tuple[Any, ...]]] = {}
        self._images: dict[Path, frozenset[str]] = {}

    def open(self) -> None:
        """Make the folder, and delete what a killed recorder left unfinished there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for unfinished in self._folder.glob("*.partial"):
            unfinished.unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """All files, by step."""
        return group_files(self._folder)

    def add(self, table: pa.Table) -> None:
        """Write rows that are not there yet, as a new part of their step."""
        for step in pc.unique(table["step"]).to_pylist():
            rows = table.filter(pc.equal(table["step"], step))
            there = self._there(step)
            new = [one not in there for one in _identities(rows)]
            if not any(new):
                continue
            rows = rows.filter(pa.array(new))
            self._write(rows, self._folder / file_name(step, self._next_part(step)))
            there.update(_identities(rows))

    def replace(self, file: Path, table: pa.Table) -> None:
        """Give a file other rows; without any, it is deleted."""
        parts = step_and_part(file)
        assert parts is not None
        self._known.pop(parts[0], None)
        if table.num_rows:
            self._write(table, file)
        else:
            self._changing(parts[0])
            self.delete([file])

    def delete(self, files: Iterable[Path]) -> None:
        """Delete files."""
        for file in files:
            file.unlink(missing_ok=True)
            self._images.pop(file, None)

    def delete_before(self, step: int) -> bool:
        """Delete the files of all steps before `step`; whether there were any."""
        old = [file for file in self.files() if _step(file) < step]
        self.delete(old)
        self._known = {known: ids for known, ids in self._known.items() if known >= step}
        return bool(old)

    def images(self) -> set[str]:
        """The SHA-256 of all images that these files show."""
        found: set[str] = set()
        for file in self.files():
            if file not in self._images:
                shown = referenced_images([pq.read_table(file, columns=_IMAGES)])
                self._images[file] = frozenset(shown)
            found |= self._images[file]
        return found

    def _there(self, step: int) -> set[tuple[Any, ...]]:
        """The identities of the step's rows on disk."""
        if step not in self._known:
            tables = [pq.read_table(file, columns=_IDENTITY) for file in self._parts(step)]
            self._known[step] = {one for table in tables for one in _identities(table)}
        return self._known[step]

    def _parts(self, step: int) -> list[Path]:
        return [file for file in self.files() if _step(file) == step]

    def _next_part(self, step: int) -> int:
        parts = [found[1] for file in self._parts(step) if (found := step_and_part(file))]
        return max(parts, default=-1) + 1

    def _write(self, table: pa.Table, file: Path) -> None:
        self._changing(_step(file))
        self._images.pop(file, None)
        with scratch_for(file) as scratch:
            write_table(table, scratch)
            # The entries in Redis are deleted next: what is written must outlast a power cut.
            with scratch.open("rb") as stream:
                os.fsync(stream.fileno())


class RecordFolder:
    """The groups of a run: the history that survives, and those that were lost.

    Args:
        keep_steps: how many steps are kept; None: all.
    """

    def __init__(self, run_dir: Path, keep_steps: int | None) -> None:
        self._index = IndexWriter(run_dir)
        self._groups = StepFiles(groups_folder(run_dir), self._index.forget)
        self._lost = StepFiles(lost_folder(run_dir))
        self._keep_steps = keep_steps

    def open(self) -> None:
        """Make the folder, and delete unfinished files."""
        self._groups.open()

    def add(self, rows: Sequence[Row], history: History) -> None:
        """Write settled groups, each to the history that it belongs to."""
        table = as_table(rows)
        lost = history.lost(table)
        self._add_lost(table.filter(lost))
        self._groups.add(table.filter(pc.invert(lost)))

    def set_lost_aside(self, history: History) -> int:
        """Move the groups that are no part of the history; returns how many there were."""
        moved = 0
        for file in [file for file in self._groups.files() if _step(file) > history.step]:
            table = pq.read_table(file, schema=SCHEMA)
            lost = history.lost(table)
            rows = table.filter(lost)
            if rows.num_rows:
                # First there, then gone here: a recorder that is killed in between repeats both.
                self._add_lost(rows)
                self._groups.replace(file, table.filter(pc.invert(lost)))
            moved += rows.num_rows
        return moved

    def _add_lost(self, table: pa.Table) -> None:
        if table.num_rows:
            self._lost.open()
            self._lost.add(table)

    def delete_old(self, newest: int) -> bool:
        """Delete steps beyond ``record.keep_steps``; whether there were any.

        Args:
            newest: the newest step.
        """
        if self._keep_steps is None:
            return False
        first = newest - self._keep_steps + 1
        self._index.delete_before(first)
        deleted = [one.delete_before(first) for one in (self._groups, self._lost)]
        return any(deleted)

    def write_index(self, newest: int) -> None:
        """Write a part of the index that is missing.

        Args:
            newest: the newest step, whose groups may not all be settled.
        """
        self._index.write_before(newest)

    def images(self) -> set[str]:
        """The SHA-256 of all images that recorded groups show."""
        return self._groups.images() | self._lost.images()


def _step(file: Path) -> int:
    found = step_and_part(file)
    assert found is not None
    return found[0]


def _identities(table: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in _IDENTITY), strict=True))
