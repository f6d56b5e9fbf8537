"""From a benchmark's local files to its items."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from perl_rl.counting import counting
from perl_rl.eval.items import Benchmark, Item
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row, find_files, read_rows
from shared.errors import UserError
from shared.grading.grade import UngradableGold, check_gold


def load_items(
    benchmark: Benchmark,
    data: Path,
    pictures: Pictures,
    split: str | None = None,
    limit: int | None = None,
) -> list[Item]:
    """The items in `data`, a file or a folder of shards. Their images go into `pictures`.

    Args:
        split: default: the benchmark's own.
        limit: how many rows to read, taken from the files in turn. Default: all.

    Raises:
        UserError: naming file, row and column of the first row that does not fit.
    """
    files = find_files(data, split or benchmark.split)
    rows = itertools.islice(_rows(files, in_turn=limit is not None), limit)
    items = []
    with counting("read", limit) as advance:
        for row in rows:
            items.append(_item(benchmark, row, pictures))
            advance()
    if not items:
        raise UserError(f"{data}: holds no rows; name the benchmark's files by --data")
    return _with_unique_ids(items)


def _item(benchmark: Benchmark, row: Row, pictures: Pictures) -> Item:
    item = benchmark.to_item(row, pictures)
    if item.rule == "kind":
        # Here, because grading comes after hours of asking.
        try:
            check_gold(item.sample.answer, item.sample.kind)
        except UngradableGold as error:
            raise row.bad(benchmark.answer_column, str(error)) from None
    return item


def _rows(files: Sequence[Path], in_turn: bool) -> Iterator[Row]:
    readers = [read_rows(file) for file in files]
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
