"""What a row says itself of the kind of its answer, and of what moving the images does to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from shared.config.source import SourceKeys
from shared.formats.rows import Row
from shared.sample import AnswerKind, OrderRule

_EXTRA = "extra_info"
# The kind of an answer that its order rule moves.
_MOVED: dict[str, AnswerKind] = {"letter": "letter", "position": "position", "order": "order"}


@dataclass(frozen=True)
class Said:
    """What a row says; None where it says nothing."""

    kind: AnswerKind | None = None
    order: OrderRule | Literal["none"] | None = None
    """``none``: it is not known, although the question looks as if it were."""
    fixed: tuple[int, ...] | None = None
    column: str = _EXTRA
    """Where it was said, for messages."""


NOTHING = Said()


def said(row: Row, keys: SourceKeys) -> Said:
    """What the columns that `keys` names say, or else `kind`, `order` and `fixed` in `extra_info`.

    An order rule alone also says the kind of the answer that it moves.

    Raises:
        BadRow: when a column is missing, or its value is no kind, rule or list of indices.
    """
    kind = _word(row, "kind", keys.kind, get_args(AnswerKind))
    order = _word(row, "order", keys.order, (*get_args(OrderRule), "none"))
    fixed, column = _value(row, "fixed", keys.fixed)
    if fixed is not None and not _are_indices(fixed):
        raise row.bad(column, "is no list of indices", f"must list indices of images, not {fixed}")
    named = next((key for key in (keys.order, keys.kind, keys.fixed) if key), _EXTRA)
    found = None if fixed is None else tuple(int(index) for index in fixed)
    return Said(kind or _MOVED.get(order or ""), order, found, named)


def _word(row: Row, name: str, key: str | None, allowed: Sequence[str]) -> Any:
    value, column = _value(row, name, key)
    if value is not None and value not in allowed:
        problem = f"{str(value)[:60]!r} is not one of {', '.join(allowed)}"
        if key is None:
            problem += f"; rename it, or name the right column in keys.{name}"
        raise row.bad(column, f"is no {name}", problem)
    return value


def _value(row: Row, name: str, key: str | None) -> tuple[Any, str]:
    """The value, None where there is none, and the column for messages."""
    if key is not None:
        if key not in row.values:
            raise row.missing(key, f"name the right one in keys.{name}")
        return _given(row.values[key]), key
    extra = row.values.get(_EXTRA)
    return _given(extra.get(name)) if isinstance(extra, dict) else None, f"{_EXTRA}.{name}"


def _given(value: Any) -> Any:
    return None if value in (None, "") else value


def _are_indices(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) for one in value
    )
