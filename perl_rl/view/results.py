"""Result files of ``perl-rl eval``, alone or two side by side, item by item.

What grades and compares takes seconds to import, so it is imported when a result is looked at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import UserError

if TYPE_CHECKING:
    from perl_rl.eval.compare import Comparison
    from perl_rl.eval.results import ItemResult, Result

PER_PAGE = 100

_KEPT = 8
"""How many files, and comparisons of two, are kept in memory."""

Stamp = tuple[int, int]
"""A file's time of change in nanoseconds, and its size."""


@dataclass(frozen=True)
class Pair:
    """One item, as one result or both of two have it."""

    a: "ItemResult"
    b: "ItemResult | None"
    """None when only one result is looked at."""

    @property
    def both(self) -> list["ItemResult"]:
        """The items that there are."""
        return [self.a] if self.b is None else [self.a, self.b]

    @property
    def changed(self) -> bool:
        """Whether, in the original order, one result is right and the other is not."""
        return self.b is not None and self.a.right != self.b.right


FILTERS: dict[str, tuple[str, Callable[[Pair], bool]]] = {
    "all": ("all items", lambda pair: True),
    "changed": ("right in one only", lambda pair: pair.changed),
    "gained": ("only B right", lambda pair: pair.changed and not pair.a.right),
    "lost": ("only A right", lambda pair: pair.changed and pair.a.right),
    "flipped": ("change with the order", lambda pair: any(map(flips, pair.both))),
    "wrong": ("wrong", lambda pair: not any(item.right for item in pair.both)),
}
"""By name: what the items are called, and which ones they are."""

_OF_TWO = ("changed", "gained", "lost")


def flips(item: "ItemResult") -> bool:
    """Whether the answer, or whether it is right, changes with the order of the images."""
    return item.flips or len({answer.right for answer in item.in_orders}) > 1


def filters(two: bool) -> dict[str, str]:
    """The filters' names with what their items are called.

    Args:
        two: whether two results are looked at.
    """
    return {name: FILTERS[name][0] for name in FILTERS if two or name not in _OF_TWO}


def is_result(path: Path) -> bool:
    """Whether a path on the command line names a result, and no run."""
    return path.suffix == ".json"


def open_results(files: Sequence[Path]) -> list[Path]:
    """The files, which are read when they are looked at, and now.

    Raises:
        UserError: when one is not there, or is not the result of an evaluation.
    """
    for file in files:
        read(file)
    return list(files)


def read(file: Path) -> "Result":
    """What the file holds now.

    Raises:
        UserError: when it is not the result of an evaluation.
    """
    return _read(file, _stamp(file))


def compared(a: Path, b: Path) -> "Comparison":
    """What ``perl-rl eval compare`` says of the two.

    Raises:
        UserError: when they are of other questions or orders, or one cannot be read.
    """
    return _compared((a, _stamp(a)), (b, _stamp(b)))


def pairs(a: "Result", b: "Result | None" = None) -> list[Pair]:
    """The items in the order of `a`; `compared` has found that both hold the same ones."""
    others = {} if b is None else {item.id: item for item in b.items}
    return [Pair(item, others.get(item.id)) for item in a.items]


def chosen(found: Sequence[Pair], show: str, task: str | None) -> list[Pair]:
    """The items that a filter lets through, of one task where one is named."""
    wanted = FILTERS[show][1]
    return [pair for pair in found if wanted(pair) and task in (None, pair.a.task)]


@lru_cache(maxsize=_KEPT)
def _read(file: Path, stamp: Stamp) -> "Result":
    from perl_rl.eval.results import read_result

    return read_result(file)


@lru_cache(maxsize=_KEPT)
def _compared(a: tuple[Path, Stamp], b: tuple[Path, Stamp]) -> "Comparison":
    from perl_rl.eval.compare import compare

    return compare(_read(*a), _read(*b))


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except OSError as error:
        raise UserError(f"{file}: cannot read the result ({error.strerror})") from None
    return found.st_mtime_ns, found.st_size
