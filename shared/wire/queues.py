"""Durable hand-over of work through Redis Streams with consumer groups.

An entry stays pending until one script acknowledges it and puts its result on the next stream. When
a service dies, another claims its entries. Only the first to acknowledge an entry adds a result, so
each result exists once. Streams are bounded: the feeder issues no more groups than it has capacity
for, and a finished entry is deleted.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

import redis.asyncio
from redis.exceptions import ResponseError

from shared.wire.scripts import Script

CONSUMER_GROUP = "workers"
_FIELD = b"m"
_SEQUENCE_BITS = 20
"""Room for a million entries in one millisecond; with the milliseconds it fits in 63 bits."""
_LOOKED_AT = 1000
"""`queue_state` looks at this many of the oldest taken entries."""
_LOOKS = 3
"""How often to look for abandoned entries within the time after which they count as abandoned."""


@dataclass(frozen=True)
class Entry:
    """One message as read from a stream."""

    id: str
    payload: bytes
    group: str = ""
    """Id of its prompt group, kept beside the payload, which may be damaged; empty when the entry
    was written by something else than our services."""
    state: str = ""
    """The group's state in the ledger as long as the entry is worth processing."""

    @property
    def added_s(self) -> float:
        """When it was put on the stream, by Redis' clock, in seconds since 1970."""
        return int(self.id.partition("-")[0]) / 1000

    @property
    def age_rank(self) -> int:
        """A number that grows from one entry of a stream to the next: the smaller, the older.

        An entry that another consumer takes over keeps it.
        """
        milliseconds, _, sequence = self.id.partition("-")
        return (int(milliseconds) << _SEQUENCE_BITS) + int(sequence)


class WorkStream:
    """One stream of work and its consumer group, as seen by one consumer."""

    def __init__(self, client: redis.asyncio.Redis, name: str, consumer: str) -> None:
        self.client = client
        self.name = name
        self.consumer = consumer
        self._hand_over = Script(client, "hand_over")
        self._bury = Script(client, "bury")
        self._finish = Script(client, "finish")
        self._look_at = 0.0

    async def create(self) -> None:
        """Create the stream and its consumer group if they do not exist."""
        try:
            await self.client.xgroup_create(self.name, CONSUMER_GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def read(self, count: int, block_s: float) -> list[Entry]:
        """Up to `count` entries that nobody has read; none after waiting for `block_s`."""
        try:
            answer = await self.client.xreadgroup(
                CONSUMER_GROUP,
                self.consumer,
                {self.name: ">"},
                count=count,
                block=max(1, int(block_s * 1000)),
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.create()
            return []
        return [entry for _, entries in answer or [] for entry in map(_entry, entries)]

    async def claim_abandoned(
        self, idle_s: float, count: int, mine: Collection[str] = ()
    ) -> list[Entry]:
        """Take over up to `count` entries that their reader has not renewed for `idle_s`.

        Args:
            mine: ids of entries that the caller has in work without renewing them.
        """
        try:
            claimed = await self._claim(int(idle_s * 1000), count, mine)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.create()
            return []
        return [_entry(entry) for entry in claimed if entry[1]]

    async def _claim(
        self, idle_ms: int, count: int, mine: Collection[str]
    ) -> list[tuple[bytes, dict[bytes, bytes]]]:
        # XAUTOCLAIM stops after looking at ten entries for each one wanted.
        pending = await self.client.xpending_range(
            self.name, CONSUMER_GROUP, min="-", max="+", count=count + len(mine), idle=idle_ms
        )
        idle = [one["message_id"] for one in pending]
        ids = [entry_id for entry_id in idle if entry_id.decode() not in mine][:count]
        if not ids:
            return []
        # When several consumers look at the same moment, the first gets the entry.
        claimed: list[tuple[bytes, dict[bytes, bytes]]] = await self.client.xclaim(
            self.name, CONSUMER_GROUP, self.consumer, idle_ms, ids
        )
        return claimed

    async def take_over(self, idle_s: float, count: int, mine: Collection[str] = ()) -> list[Entry]:
        """`claim_abandoned` for a caller in a loop: it looks only a few times within `idle_s`.

        Call it before each `read`; otherwise a steady flow of new work would keep every consumer
        from the abandoned entries.
        """
        now = time.monotonic()
        if now < self._look_at:
            return []
        found = await self.claim_abandoned(idle_s, count, mine)
        if not found:
            self._look_at = now + idle_s / _LOOKS
        return found

    async def renew(self, entry_ids: list[str]) -> None:
        """Keep these entries from being claimed by others for another while."""
        if entry_ids:
            await self.client.xclaim(
                self.name, CONSUMER_GROUP, self.consumer, 0, entry_ids, idle=0, justid=True
            )

    async def hand_over(self, entry: Entry, target: str, payload: bytes) -> bool:
        """Put the result on `target` and finish `entry` in one script.

        Returns False, and adds nothing, when another consumer has finished the entry.
        """
        done = await self._hand_over(
            source=self.name,
            target=target,
            consumer_group=CONSUMER_GROUP,
            entry_id=entry.id,
            payload=payload,
            group_id=entry.group,
            state=entry.state,
        )
        return bool(done)

    async def bury(self, entry: Entry, dead_letters: str, reason: str) -> bool:
        """Move an entry that cannot be processed to the dead letters, with the reason.

        Returns False when another consumer has finished the entry.
        """
        done = await self._bury(
            source=self.name,
            dead_letters=dead_letters,
            consumer_group=CONSUMER_GROUP,
            entry_id=entry.id,
            payload=entry.payload,
            reason=reason,
        )
        return bool(done)

    async def finish(self, entry: Entry) -> None:
        """Finish an entry without a result: its group was handed on or dropped already."""
        await self._finish(source=self.name, consumer_group=CONSUMER_GROUP, entry_id=entry.id)

    async def deliveries(self, entry: Entry) -> int:
        """How often the entry has been delivered."""
        pending = await self.client.xpending_range(
            self.name, CONSUMER_GROUP, min=entry.id, max=entry.id, count=1
        )
        return int(pending[0]["times_delivered"]) if pending else 0

    async def length(self) -> int:
        """Entries that are waiting or being worked on."""
        return int(await self.client.xlen(self.name))


@dataclass(frozen=True)
class QueueState:
    """A stream of work at one moment."""

    entries: int
    """Those that wait or are worked on."""
    in_work: int
    """Those that a consumer has taken and not finished."""
    oldest_s: float
    """Age of the oldest entry in seconds; 0 without entries."""
    unrenewed_s: float
    """Seconds since a claim was last renewed, of the taken entry where that is longest ago; 0
    without taken entries."""


async def queue_state(client: redis.asyncio.Redis, name: str) -> QueueState:
    """The stream `name` now; an empty one when it does not exist."""
    try:
        taken = await client.xpending_range(name, CONSUMER_GROUP, "-", "+", count=_LOOKED_AT)
        in_work = int((await client.xpending(name, CONSUMER_GROUP))["pending"])
    except ResponseError as error:
        if "NOGROUP" not in str(error):
            raise
        taken, in_work = [], 0
    oldest = await client.xrange(name, count=1)
    age_s = 0.0
    if oldest:
        seconds, microseconds = await client.time()
        added_s = int(oldest[0][0].partition(b"-")[0]) / 1000
        age_s = max(0.0, seconds + microseconds / 1e6 - added_s)
    idle = max((one["time_since_delivered"] for one in taken), default=0)
    return QueueState(int(await client.xlen(name)), in_work, age_s, idle / 1000)


def _entry(raw: tuple[bytes, dict[bytes, bytes]]) -> Entry:
    entry_id, fields = raw
    return Entry(
        id=entry_id.decode(),
        # An entry without a payload does not decode, so it becomes a dead letter; no reader fails.
        payload=fields.get(_FIELD, b""),
        group=fields.get(b"g", b"").decode(),
        state=fields.get(b"s", b"").decode(),
    )
