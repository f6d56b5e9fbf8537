"""Reads chat turns from a column, in the several forms in which data sets store them."""

from typing import Any, NamedTuple

from shared.formats.rows import Row

_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant"}


class Turn(NamedTuple):
    """One message; its role is ``system``, ``user`` or ``assistant``."""

    role: str
    text: str


def turns_of(row: Row, column: str) -> list[Turn]:
    """The turns in `column`: a list of ``{role, content}`` or ``{from, value}``.

    A struct of lists is accepted too: the `datasets` library once stored lists of structs so.

    Raises:
        BadRow: when the column holds something else, or a turn has no text.
    """
    stored = row.value(column)
    if isinstance(stored, dict):
        lists = list(stored.values())
        if not all(isinstance(one, list) for one in lists) or len({len(one) for one in lists}) > 1:
            raise row.bad(column, "is not a list of turns")
        stored = [dict(zip(stored, values, strict=True)) for values in zip(*lists, strict=True)]
    if not isinstance(stored, list) or not stored:
        raise row.bad(column, "is not a list of turns")
    return [_turn(one, row, column) for one in stored]


def _turn(stored: Any, row: Row, column: str) -> Turn:
    if not isinstance(stored, dict):
        raise row.bad(column, "is not a list of turns")
    role, text = (
        (stored["role"], stored.get("content"))
        if "role" in stored
        else (stored.get("from"), stored.get("value"))
    )
    if not isinstance(role, str):
        raise row.bad(column, "has a turn without a role")
    if text is None:
        raise row.bad(column, "has a turn without text")
    return Turn(_ROLES.get(role, role), row.as_text(text, column))
