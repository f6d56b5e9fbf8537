"""Reads the dead letters of a run: entries that no service could process, each with its reason."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import redis.asyncio

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

    def line(self) -> str:
        """The letter in one line of text."""
        at = datetime.fromtimestamp(int(self.id.partition("-")[0]) / 1000, UTC)
        group = self.group_id or "no group"
        where = self.stream.rpartition(":")[2]
        return f"{self.id}  {at:%Y-%m-%d %H:%M:%S}  {where}  {group}  {self.reason}"


async def letters(
    client: redis.asyncio.Redis, keys: Keys, newest: int | None = None
) -> list[Letter]:
    """The dead letters, the oldest first: all, or the `newest` ones."""
    if newest is None:
        found = await client.xrange(keys.dead_letters)
    else:
        found = list(reversed(await client.xrevrange(keys.dead_letters, count=newest)))
    return [_letter(entry_id, fields) for entry_id, fields in found]


def _letter(entry_id: bytes, fields: dict[bytes, bytes]) -> Letter:
    identity = group_identity(fields[b"m"])
    named = fields.get(b"g", b"").decode() or (identity[0] if identity else None)
    return Letter(
        id=entry_id.decode(),
        stream=fields.get(b"stream", b"?").decode(),
        reason=" ".join(fields.get(b"reason", b"?").decode().split()),
        group_id=named,
    )


async def most_frequent_reason(client: redis.asyncio.Redis, keys: Keys) -> str | None:
    """The commonest reason of the newest dead letters, in one of its wordings; None without any.

    Reasons that differ in numbers only, such as sizes and ids, are one reason.
    """
    found = await letters(client, keys, _LOOKED_AT)
    if not found:
        return None
    kinds = Counter(_NUMBER.sub("0", letter.reason) for letter in found)
    kind, times = kinds.most_common(1)[0]
    example = next(one for one in reversed(found) if _NUMBER.sub("0", one.reason) == kind)
    group = f"group {example.group_id}: " if example.group_id else ""
    return f"{times} of the last {len(found)} dead letters: {group}{example.reason}"
