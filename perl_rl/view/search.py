"""Searches the responses of groups. They are in the files alone, so a search has a time limit."""

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import UserError
from shared.records.group_index import BYTES, FILE
from shared.records.groups import groups_folder, open_file

BUDGET_S = 1.5

_ID, _TEXT = "group_id", "response_text"


@dataclass(frozen=True)
class Found:
    """What a search found."""

    groups: pa.Table
    """Rows of the index."""
    down_to: int | None
    """The step above which everything was searched; None: the search is complete."""


def with_response(run_dir: Path, table: pa.Table, text: str, budget_s: float = BUDGET_S) -> Found:
    """The groups with `text` in a response, capitals ignored, from the newest file to the oldest.

    Args:
        table: the rows of the index to search.
    """
    until = time.monotonic() + budget_s
    ids: list[str] = []
    down_to = None
    files = zip(table[FILE].to_pylist(), table[BYTES].to_pylist(), strict=True)
    for name, size in sorted(set(files), reverse=True):
        if time.monotonic() > until:
            down_to = int(name.split("-")[1]) + 1
            break
        ids += _matching(groups_folder(run_dir) / name, size, text)
    return Found(table.filter(pc.is_in(table[_ID], pa.array(ids, pa.string()))), down_to)


@lru_cache(maxsize=50_000)
def _matching(file: Path, size: int, text: str) -> tuple[str, ...]:
    """The ids of a file's groups; remembered, so that the next page of the list comes at once."""
    try:
        with open_file(file) as opened:
            rows = opened.read(columns=[_ID, _TEXT], use_threads=False).combine_chunks()
    except (FileNotFoundError, UserError):
        # Deleted or damaged since it was indexed: the index drops it, or says so, next time.
        return ()
    texts = rows[_TEXT].combine_chunks()
    found = pc.fill_null(pc.match_substring(texts.flatten(), text, ignore_case=True), False)
    places = pc.unique(pc.list_parent_indices(texts).filter(found))
    return tuple(rows[_ID].take(places).to_pylist())
