"""Durable hand-over of work through Redis Streams with consumer groups.

An entry stays pending until the service that read it has handed its result on, in one script with
the acknowledgement. A dead service's entries are claimed by another; an entry that was finished in
the meantime is acknowledged once only, so its result exists once only. Streams are bounded because
the feeder issues no more groups than it has capacity for, and a finished entry is deleted.
"""

import time
from dataclasses import dataclass

import redis.asyncio
from redis.exceptions import ResponseError

CONSUMER_GROUP = "workers"
_FIELD = b"m"
_LOOKS = 3
"""For abandoned entries, within the time after which they count as abandoned."""

# KEYS: source stream, target stream. ARGV: consumer group, entry id, payload, prompt group, state.
# Returns 1, or 0 when somebody else has finished the entry already.
_HAND_OVER = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', 'm', ARGV[3], 'g', ARGV[4], 's', ARGV[5])
return 1
"""

# KEYS: source stream, dead-letter stream. ARGV: group, entry id, payload, reason.
_BURY = """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', 'm', ARGV[3], 'stream', KEYS[1], 'reason', ARGV[4])
return 1
"""


@dataclass(frozen=True)
class Entry:
    """One message as read from a stream."""

    id: str
    payload: bytes
    group: str = ""
    """Id of the prompt group it belongs to, told beside the payload, which may be damaged; empty
    for an entry that no service of ours wrote."""
    state: str = ""
    """What the ledger says of that group while the entry counts."""


class WorkStream:
    """One stream of work and its consumer group, as seen by one consumer."""

    def __init__(self, client: redis.asyncio.Redis, name: str, consumer: str) -> None:
        self.client = client
        self.name = name
        self.consumer = consumer
        self._hand_over = client.register_script(_HAND_OVER)
        self._bury = client.register_script(_BURY)
        self._look_at = 0.0

    async def create(self) -> None:
        """Make the stream and its consumer group if they are not there."""
        try:
            await self.client.xgroup_create(self.name, CONSUMER_GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def read(self, count: int, block_s: float) -> list[Entry]:
        """Up to `count` entries nobody has read; an empty list after `block_s` without one."""
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

    async def claim_abandoned(self, idle_s: float, count: int) -> list[Entry]:
        """Take over up to `count` entries whose reader has not renewed them for `idle_s`."""
        try:
            claimed = await self._claim(int(idle_s * 1000), count)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.create()
            return []
        return [_entry(entry) for entry in claimed if entry[1]]

    async def _claim(self, idle_ms: int, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        # XAUTOCLAIM would look at ten entries for each that is wanted, and no further.
        pending = await self.client.xpending_range(
            self.name, CONSUMER_GROUP, min="-", max="+", count=count, idle=idle_ms
        )
        if not pending:
            return []
        ids = [one["message_id"] for one in pending]
        # Of several that look at the same moment, the first gets it.
        claimed: list[tuple[bytes, dict[bytes, bytes]]] = await self.client.xclaim(
            self.name, CONSUMER_GROUP, self.consumer, idle_ms, ids
        )
        return claimed

    async def take_over(self, idle_s: float, count: int) -> list[Entry]:
        """`claim_abandoned`, for a caller in a loop: looks a few times within `idle_s` only.

        To be called before each `read`: with enough new work, nobody would ever come to the
        abandoned.
        """
        now = time.monotonic()
        if now < self._look_at:
            return []
        found = await self.claim_abandoned(idle_s, count)
        if not found:
            self._look_at = now + idle_s / _LOOKS
        return found

    async def renew(self, entry_ids: list[str]) -> None:
        """Say that this consumer still works on these entries."""
        if entry_ids:
            await self.client.xclaim(
                self.name, CONSUMER_GROUP, self.consumer, 0, entry_ids, idle=0, justid=True
            )

    async def hand_over(self, entry: Entry, target: str, payload: bytes) -> bool:
        """Put the result on `target` and finish `entry`, at once.

        Returns False, and adds nothing, when the entry was finished by another consumer.
        """
        done = await self._hand_over(
            keys=[self.name, target],
            args=[CONSUMER_GROUP, entry.id, payload, entry.group, entry.state],
        )
        return bool(done)

    async def bury(self, entry: Entry, dead_letters: str, reason: str) -> bool:
        """Move an entry that cannot be processed to the dead-letter stream, with the reason."""
        done = await self._bury(
            keys=[self.name, dead_letters],
            args=[CONSUMER_GROUP, entry.id, entry.payload, reason],
        )
        return bool(done)

    async def finish(self, entry: Entry) -> None:
        """Finish an entry that has no result: what it asks for is done or given up already."""
        async with self.client.pipeline(transaction=True) as pipe:
            pipe.xack(self.name, CONSUMER_GROUP, entry.id)
            pipe.xdel(self.name, entry.id)
            await pipe.execute()

    async def deliveries(self, entry: Entry) -> int:
        """How often the entry has been handed out so far."""
        pending = await self.client.xpending_range(
            self.name, CONSUMER_GROUP, min=entry.id, max=entry.id, count=1
        )
        return int(pending[0]["times_delivered"]) if pending else 0

    async def length(self) -> int:
        """Entries that are waiting or being worked on."""
        return int(await self.client.xlen(self.name))


def _entry(raw: tuple[bytes, dict[bytes, bytes]]) -> Entry:
    entry_id, fields = raw
    return Entry(
        id=entry_id.decode(),
        # An entry without one is nothing that decodes: a dead letter, not the end of its reader.
        payload=fields.get(_FIELD, b""),
        group=fields.get(b"g", b"").decode(),
        state=fields.get(b"s", b"").decode(),
    )
