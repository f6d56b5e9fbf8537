"""Chat turns inside a column, in the shapes they are stored in."""

from typing import Any, NamedTuple

from shared.formats.rows import Row

_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant"}


class Turn(NamedTuple):
    """What one side said: role ``system``, ``user`` or ``assistant``."""

    role: str
    text: str


def turns_of(row: Row, column: str) -> list[Turn]:
    """The turns in `column`: a list of ``{role, content}`` or ``{from, value}``.

    A list of structs may also be stored as a struct of lists, as the `datasets` library once did.

    Raises:
        BadRow: when it is something else, or a turn has no text.
    """
    stored = row.value(column)
    if isinstance(stored, dict):
        lists = list(stored.values())
        if not all(isinstance(one, list) for one in lists) or len({len(one) for one in lists}) > 1:
            raise row.bad(column, "is no list of turns")
        stored = [dict(zip(stored, values, strict=True)) for values in zip(*lists, strict=True)]
    if not isinstance(stored, list) or not stored:
        raise row.bad(column, "is no list of turns")
    return [_turn(one, row, column) for one in stored]


def _turn(stored: Any, row: Row, column: str) -> Turn:
    if not isinstance(stored, dict):
        raise row.bad(column, "is no list of turns")
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
