"""The stream of settled groups, which the recorder reads: each is there until it is written.

The script that settles a group puts it on this stream, so none is missing and none is there twice.
The stream is bounded: when the recorder falls behind, groups beyond its room are only counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgpack
import redis.asyncio

from shared.records.settled import SettledGroup
from shared.wire.keys import Keys
from shared.wire.messages import (
    M,
    MalformedMessage,
    PromptTask,
    ScoredGroup,
    ScoredOrder,
    TrainedResponses,
    TrajectoryBatch,
    decode,
)

Fields = Mapping[bytes, bytes]


@dataclass(frozen=True)
class RawRecord:
    """One entry, not decoded yet."""

    id: str
    fields: Fields


class SettledStream:
    """The recorder's end of the stream."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def open(self, share: float, dropped: float, room: int) -> None:
        """From now on settled groups are put on the stream.

        Args:
            share, dropped: which share of the trained groups, and of all others.
            room: how many may wait on the stream.
        """
        fields: dict[str, float] = {"trained": share, "dropped": dropped, "room": room}
        await self._client.hset(self._keys.recording, mapping=fields)

    async def close(self) -> None:
        """From now on no group is recorded; those that wait are thrown away."""
        await self._client.delete(self._keys.recording, self._keys.records)

    async def missed(self) -> int:
        """Groups that were not recorded because the stream was full."""
        return int(await self._client.hget(self._keys.recording, "missed") or 0)

    async def read(self, after: str, count: int, block_s: float) -> list[RawRecord]:
        """Up to `count` entries behind the entry `after`; none after waiting for `block_s`."""
        answer = await self._client.xread(
            {self._keys.records: after}, count=count, block=max(1, int(block_s * 1000))
        )
        return [
            RawRecord(entry_id.decode(), fields)
            for _, entries in answer or []
            for entry_id, fields in entries
        ]

    async def finish(self, entry_ids: list[str]) -> None:
        """Remove entries that are written."""
        if entry_ids:
            await self._client.xdel(self._keys.records, *entry_ids)

    async def image_bytes(self) -> dict[str, bytes]:
        """SHA-256 to bytes of all images that groups in flight show."""
        found: dict[str, bytes] = {}
        for name in sorted(await self.images_in_flight()):
            data = await self._client.get(self._keys.image_prefix + name)
            if data is not None:
                found[name] = data
        return found

    async def images_in_flight(self) -> set[str]:
        """The SHA-256 of all images that groups in flight show."""
        return {name.decode() for name in await self._client.hkeys(self._keys.image_refs)}


def settled_group(record: RawRecord) -> SettledGroup:
    """What an entry holds; parts that are damaged are left out."""
    fields = record.fields
    state = fields[b"state"].decode()
    status, _, rest = state.partition(":")
    issued_ms, tasks = _tasks(fields.get(b"tasks", b""))
    scored, unscored = _orders(fields)
    carried = fields.get(b"entry", b"").decode()
    handed_on = fields.get(b"stream", b"").endswith(b":groups")
    return SettledGroup(
        group_id=fields[b"group"].decode(),
        state=state,
        # What is dropped while step s trains is replaced in the next one.
        step=int(rest) if status == "trained" else int(fields[b"step"]) + 1,
        incarnation=int(fields[b"incarnation"]),
        settled_ms=_milliseconds(record.id),
        tasks=tasks,
        orders=scored,
        unscored=unscored,
        trained=_read(TrainedResponses, fields.get(b"figures", b"")),
        detail=fields.get(b"detail", b"").decode() or None,
        issued_ms=issued_ms or None,
        scored_ms=_milliseconds(carried) if handed_on else None,
    )


def _tasks(packed: bytes) -> tuple[int, tuple[PromptTask, ...]]:
    """When a group was issued, in milliseconds since 1970, and its tasks."""
    if not packed:
        return 0, ()
    issued_ms, encoded = msgpack.unpackb(packed, raw=True)
    return int(issued_ms), tuple(decode(PromptTask, one) for one in encoded)


def _orders(fields: Fields) -> tuple[tuple[ScoredOrder, ...], tuple[TrajectoryBatch, ...]]:
    scored: list[ScoredOrder] = []
    unscored: list[TrajectoryBatch] = []
    for name, data in fields.items():
        if not name.startswith(b"part"):
            continue
        if group := _read(ScoredGroup, data):
            scored += group.orders
        elif order := _read(ScoredOrder, data):
            scored.append(order)
        elif batch := _read(TrajectoryBatch, data):
            unscored.append(batch)
    return tuple(scored), tuple(unscored)


def _read(kind: type[M], data: bytes) -> M | None:
    """None when the bytes are something else: a dead letter may hold anything."""
    try:
        return decode(kind, data)
    except MalformedMessage:
        return None


def _milliseconds(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
