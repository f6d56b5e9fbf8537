"""From a benchmark's local files to its items."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from perl_rl.counting import counting
from perl_rl.eval.items import Benchmark, Item
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import BadRow, Row, find_files, read_rows
from shared.errors import UserError
from shared.grading.grade import UngradableGold, check_gold


def load_items(
    benchmark: Benchmark,
    data: Path,
    pictures: Pictures,
    split: str | None = None,
    limit: int | None = None,
    skipped: list[BadRow] | None = None,
) -> list[Item]:
    """The items in `data`, a file or a folder of shards. Their images go into `pictures`.

    Args:
        split: default: the benchmark's own.
        limit: how many rows to read, taken from the files in turn. Default: all.
        skipped: gets the rows that do not fit; None: the first one is an error.

    Raises:
        UserError: naming file, row and column of the first row that does not fit, or when no row
            fits.
    """
    files = find_files(data, split or benchmark.split)
    rows = itertools.islice(_rows(files, limit is not None, skipped), limit)
    items = []
    with counting("read", limit) as advance:
        for row in rows:
            try:
                items.append(_item(benchmark, row, pictures))
            except BadRow as bad:
                if skipped is None:
                    raise
                skipped.append(bad)
            advance()
    if not items and skipped:
        raise UserError(f"{data}: none of its {len(skipped)} rows fits; the first: {skipped[0]}")
    if not items:
        raise UserError(f"{data}: holds no rows; name the benchmark's files by --data")
    return _with_unique_ids(items)


def _item(benchmark: Benchmark, row: Row, pictures: Pictures) -> Item:
    item = benchmark.to_item(row, pictures)
    # Here, because grading comes after hours of asking.
    try:
        check_gold(item.sample.answer, item.sample.kind)
    except UngradableGold as error:
        problem = f"is not of kind '{item.sample.kind}'"
        raise row.bad(benchmark.answer_column, problem, str(error)) from None
    return item


def _rows(files: Sequence[Path], in_turn: bool, skipped: list[BadRow] | None) -> Iterator[Row]:
    readers = [read_rows(file, skipped) for file in files]
    if not in_turn:
        yield from itertools.chain.from_iterable(readers)
        return
    while readers:
        for reader in readers.copy():
            row = next(reader, None)
            if row is None:
                readers.remove(reader)
            else:
                yield row


def _with_unique_ids(items: list[Item]) -> list[Item]:
    """Published files sometimes repeat an id, and each shard may count from 1."""
    seen: Counter[str] = Counter()
    unique = []
    for item in items:
        name = item.sample.id
        seen[name] += 1
        if seen[name] > 1:
            sample = item.sample.model_copy(update={"id": f"{name}~{seen[name]}"})
            item = replace(item, sample=sample)
        unique.append(item)
    return unique
