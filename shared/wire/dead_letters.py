"""Reads the dead letters of a run: entries that no service could process, each with its reason."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import redis.asyncio

from shared.errors import UserError
from shared.files import write_atomically
from shared.jsonlines import read_json_lines
from shared.wire.keys import Keys
from shared.wire.messages import group_identity

_LOOKED_AT = 1000
"""How many of the newest letters `most_frequent_reason` looks at."""

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Letter:
    """One entry of the dead-letter stream."""

    id: str
    stream: str
    reason: str
    group_id: str | None
    """None when it cannot be read from the entry."""
    attempts: int = 0
    """How often the entry was delivered; 0: never, the feeder refused it."""

    @property
    def time(self) -> float:
        """When it became a dead letter, in seconds since 1970."""
        return int(self.id.partition("-")[0]) / 1000

    def line(self) -> str:
        """The letter in one line of text."""
        at = datetime.fromtimestamp(self.time, UTC)
        group = self.group_id or "no group"
        where = self.stream.rpartition(":")[2]
        return f"{self.id}  {at:%Y-%m-%d %H:%M:%S}  {where}  {group}  {self.reason}"


_FIELDS = tuple(field.name for field in fields(Letter))


async def letters(
    client: redis.asyncio.Redis, keys: Keys, newest: int | None = None
) -> list[Letter]:
    """The dead letters, the oldest first: all, or the `newest` ones."""
    if newest is None:
        found = await client.xrange(keys.dead_letters)
    else:
        found = list(reversed(await client.xrevrange(keys.dead_letters, count=newest)))
    return [_letter(entry_id, parts) for entry_id, parts in found]


def _letter(entry_id: bytes, parts: dict[bytes, bytes]) -> Letter:
    identity = group_identity(parts[b"m"])
    named = parts.get(b"g", b"").decode() or (identity[0] if identity else None)
    return Letter(
        id=entry_id.decode(),
        stream=parts.get(b"stream", b"?").decode(),
        reason=" ".join(parts.get(b"reason", b"?").decode().split()),
        group_id=named,
        attempts=int(parts.get(b"attempts", b"0")),
    )


async def most_frequent_reason(client: redis.asyncio.Redis, keys: Keys) -> str | None:
    """The commonest reason of the newest dead letters, in one of its wordings; None without any.

    Reasons that differ in numbers only, such as sizes and ids, are one reason.
    """
    return commonest_reason(await letters(client, keys, _LOOKED_AT))


def commonest_reason(found: Sequence[Letter]) -> str | None:
    """As `most_frequent_reason`, of these letters."""
    if not found:
        return None
    kinds = Counter(_NUMBER.sub("0", letter.reason) for letter in found)
    kind, times = kinds.most_common(1)[0]
    example = next(one for one in reversed(found) if _NUMBER.sub("0", one.reason) == kind)
    group = f"group {example.group_id}: " if example.group_id else ""
    return f"{times} of the last {len(found)} dead letters: {group}{example.reason}"


def write_letters(file: Path, found: Sequence[Letter]) -> None:
    """Write letters to a file, one JSON object a line, which `read_letters` reads back."""
    lines = [
        json.dumps({"time": one.time, **asdict(one)}, ensure_ascii=False) + "\n" for one in found
    ]
    write_atomically(file, "".join(lines))


def read_letters(file: Path) -> list[Letter]:
    """The letters that `write_letters` wrote; none without a file.

    Raises:
        UserError: when the file holds something else.
    """
    if not file.exists():
        return []
    found = []
    for number, row in read_json_lines(file):
        try:
            found.append(Letter(**{name: row[name] for name in _FIELDS}))
        except (KeyError, TypeError):
            raise UserError(f"{file}, line {number}: is no dead letter") from None
    return found
