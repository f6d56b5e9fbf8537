"""Which groups a list shows, and in which order: read from an address, applied to the index."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shared.config.guard import GuardConfig

PER_PAGE = 50

HIGH_MISMATCH = GuardConfig().mismatch_warn_above
"""In nats: where the trainer warns by default."""


@dataclass(frozen=True)
class Kind:
    """A kind of groups that one click shows."""

    label: str
    meaning: str
    test: Callable[[pa.Table], pa.ChunkedArray]


def _is(column: str, value: Any) -> Callable[[pa.Table], pa.ChunkedArray]:
    return lambda table: pc.equal(table[column], pa.scalar(value, table[column].type))


def _above(column: str, bound: float) -> Callable[[pa.Table], pa.ChunkedArray]:
    return lambda table: pc.greater(table[column], pa.scalar(bound, table[column].type))


KINDS = {
    "trained": Kind("trained", "trained on", _is("status", "trained")),
    "dropped": Kind("dropped", "dropped for a reason", _is("status", "dropped")),
    "skipped": Kind("skipped", "never sampled", _is("status", "skipped")),
    "flipped": Kind(
        "flipped between orders",
        "the most frequent answer, mapped back, differs between two orders",
        _is("flipped", True),
    ),
    "wrong": Kind("all wrong", "no response is right", _is("accuracy", 0.0)),
    "right": Kind("all right", "every response is right", _is("accuracy", 1.0)),
    "truncated": Kind(
        "cut off", "a response was cut off at sampling.max_tokens", _above("truncated", 0)
    ),
    "mismatch": Kind(
        "high mismatch",
        f"log-probabilities of sampler and trainer differ by more than {HIGH_MISMATCH:g} nats",
        _above("mismatch", HIGH_MISMATCH),
    ),
}

SORTS = {
    "step": "Step",
    "group_id": "Group",
    "accuracy": "Accuracy",
    "worst_accuracy": "Worst order",
    "reward": "Reward",
    "reward_std": "Spread of rewards",
    "tokens": "Tokens",
    "mismatch": "Mismatch",
}
"""What a list can be sorted by, with the titles of their columns."""


@dataclass(frozen=True)
class Filters:
    """The filters of a list; None: not set."""

    only: tuple[str, ...] = ()
    """Names from `KINDS`; all hold."""
    reason: str | None = None
    kind: str | None = None
    source: str | None = None
    sample: str | None = None
    first: int | None = None
    """Of steps."""
    last: int | None = None
    text: str | None = None
    """In the question, the answer, or an id; capitals do not matter."""
    deep: bool = False
    """Search the responses instead."""
    sort: str = "step"
    up: bool = False
    """Smallest first."""
    page: int = 1

    def query(self) -> dict[str, str | int]:
        """What makes them again, as parts of an address; defaults are left out."""
        said: dict[str, str | int] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default and value not in (None, ""):
                said[one.name] = ",".join(value) if one.name == "only" else value
        return {name: int(value) if value is True else value for name, value in said.items()}

    def but(self, **changes: Any) -> dict[str, str | int]:
        """The query of these filters with some changed, on the first page."""
        return replace(self, **{"page": 1, **changes}).query()

    def toggled(self, name: str) -> dict[str, str | int]:
        """The query with a kind of groups added or taken away."""
        others = tuple(one for one in self.only if one != name)
        return self.but(only=others if name in self.only else (*self.only, name))

    def sorted_by(self, column: str) -> dict[str, str | int]:
        """The query of the list sorted by this column, the other way round when it is already."""
        return self.but(sort=column, up=not self.up if self.sort == column else False)

    @property
    def narrowed(self) -> bool:
        """Whether they leave groups out."""
        shown = replace(self, sort="step", up=False, page=1)
        return shown != Filters()


def from_query(query: Mapping[str, str]) -> Filters:
    """The filters that an address names.

    Raises:
        ValueError: saying which part cannot be read.
    """
    only = tuple(one for one in query.get("only", "").split(",") if one)
    unknown = [one for one in only if one not in KINDS]
    if unknown:
        raise ValueError(f"only: no such kind of groups: {unknown[0]}; one of {', '.join(KINDS)}")
    sort = query.get("sort") or "step"
    if sort not in SORTS:
        raise ValueError(f"sort: no such column: {sort}; one of {', '.join(SORTS)}")
    return Filters(
        only=only,
        **{name: query.get(name) or None for name in ("reason", "kind", "source", "sample")},
        first=_number(query, "first"),
        last=_number(query, "last"),
        text=(query.get("text") or "").strip() or None,
        deep=query.get("deep", "0") == "1",
        sort=sort,
        up=query.get("up", "0") == "1",
        page=max(1, _number(query, "page") or 1),
    )


def _number(query: Mapping[str, str], name: str) -> int | None:
    given = query.get(name, "").strip()
    if not given:
        return None
    if not given.lstrip("-").isdecimal() or len(given) > 10:
        raise ValueError(f"{name}: not a whole number: {given[:40]}")
    return int(given)


def apply(filters: Filters, table: pa.Table) -> pa.Table:
    """The rows of the index that the filters let through, in the list's order.

    The index has no responses: with `Filters.deep` the text is left for `search`.
    """
    kept = [KINDS[name].test(table) for name in filters.only]
    for column in ("reason", "kind", "source"):
        wanted = getattr(filters, column)
        if wanted is not None:
            kept.append(pc.equal(table[column], wanted))
    if filters.sample is not None:
        kept.append(pc.equal(table["sample_id"], filters.sample))
    if filters.first is not None:
        kept.append(pc.greater_equal(table["step"], filters.first))
    if filters.last is not None:
        kept.append(pc.less_equal(table["step"], filters.last))
    if filters.text is not None and not filters.deep:
        kept.append(_holds(table, filters.text))
    if kept:
        table = table.filter(reduce(pc.and_kleene, kept))
    return _sorted(filters, table)


def counts(table: pa.Table) -> dict[str, int]:
    """How many groups there are of each of `KINDS`."""
    return {name: pc.sum(kind.test(table)).as_py() or 0 for name, kind in KINDS.items()}


def choices(table: pa.Table, column: str) -> list[tuple[str, int]]:
    """The values of a column with how many groups have them, the most frequent first."""
    found = [(one["values"], one["counts"]) for one in pc.value_counts(table[column]).to_pylist()]
    return sorted(((value, n) for value, n in found if value), key=lambda one: (-one[1], one[0]))


def _holds(table: pa.Table, text: str) -> pa.ChunkedArray:
    columns = ("question", "answer", "group_id", "sample_id")
    found = [
        pc.fill_null(pc.match_substring(table[name], text, ignore_case=True), False)
        for name in columns
    ]
    return reduce(pc.or_kleene, found)


def _sorted(filters: Filters, table: pa.Table) -> pa.Table:
    way = "ascending" if filters.up else "descending"
    columns = [filters.sort, *(one for one in ("step", "group_id") if one != filters.sort)]
    return table.take(pc.sort_indices(table, sort_keys=[(one, way, "at_end") for one in columns]))
