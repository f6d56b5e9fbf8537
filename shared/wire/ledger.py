"""The account of every prompt group: issued, then trained once or dropped with a reason.

``issued = trained + dropped + in flight`` at every moment, because each change of state is one
script in Redis together with the queue operation that causes it. A group leaves "in flight" once:
whoever comes second is told so and changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence

import redis.asyncio
from pydantic import BaseModel

from shared.wire.keys import Keys
from shared.wire.messages import (
    PolicyVersion,
    PromptTask,
    ScoredGroup,
    ScoredOrder,
    encode,
    group_identity,
)
from shared.wire.queues import CONSUMER_GROUP, Entry, WorkStream

IN_FLIGHT = "in_flight"
TRAINED = "trained"
DROPPED = "dropped"
DEAD_LETTER = "dead_letter"
"""Reason of a group with an order that no service could process."""

# A settled group's images are deleted with the last group that shows them.
_RELEASE = """
local function release(images_key, refs_key, image_prefix, group)
  local images = redis.call('HGET', images_key, group)
  if not images then return end
  redis.call('HDEL', images_key, group)
  for name in string.gmatch(images, '[^,]+') do
    if redis.call('HINCRBY', refs_key, name, -1) <= 0 then
      redis.call('HDEL', refs_key, name)
      redis.call('DEL', image_prefix .. name)
    end
  end
end
"""

# The scores of a group are counted once, by the script that ends its scoring: as ARGV from `first`
# on, name and value in turn.
_COUNT_SCORES = """
local function count_scores(scores_key, first)
  for i = first, #ARGV, 2 do redis.call('HINCRBYFLOAT', scores_key, ARGV[i], ARGV[i + 1]) end
end
"""

# KEYS: ledger, counts, prompts, refs, group-images, dead letters. ARGV: group, state, image prefix,
# image names, letter ids, then the images' bytes and the tasks. A replay names
# the dead letters it answers; when they are gone, another replay was first. Images go in with the
# group or not at all: nobody would ever delete those of a group that was refused.
_ISSUE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
if ARGV[5] ~= '' then
  local removed = 0
  for letter in string.gmatch(ARGV[5], '[^,]+') do
    removed = removed + redis.call('XDEL', KEYS[6], letter)
  end
  if removed == 0 then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], 'issued', 1)
redis.call('HINCRBY', KEYS[2], 'in_flight', 1)
redis.call('HSET', KEYS[5], ARGV[1], ARGV[4])
local at = 6
for name in string.gmatch(ARGV[4], '[^,]+') do
  redis.call('HINCRBY', KEYS[4], name, 1)
  redis.call('SET', ARGV[3] .. name, ARGV[at], 'NX')
  at = at + 1
end
for i = at, #ARGV do
  redis.call('XADD', KEYS[3], '*', 'm', ARGV[i], 'g', ARGV[1], 's', ARGV[2])
end
return 1
"""

# KEYS: ledger, counts, events, refs, group-images, stream, assembly, dead letters,
# scores. ARGV: group, expected state, new state, counter, image prefix, consumer group, entry id;
# the payload of an entry that nobody could process, and why, else empty; scores.
# Returns 1, or 0 when the entry was finished by another or the group was not in flight in this
# incarnation.
_SETTLE = (
    _RELEASE
    + _COUNT_SCORES
    + """
if redis.call('XACK', KEYS[6], ARGV[6], ARGV[7]) == 0 then return 0 end
redis.call('XDEL', KEYS[6], ARGV[7])
if ARGV[8] ~= '' then
  redis.call('XADD', KEYS[8], '*', 'm', ARGV[8], 'stream', KEYS[6], 'reason', ARGV[9], 'g', ARGV[1])
end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[7])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HINCRBY', KEYS[2], 'in_flight', -1)
redis.call('HINCRBY', KEYS[2], ARGV[4], 1)
release(KEYS[5], KEYS[4], ARGV[5], ARGV[1])
count_scores(KEYS[9], 10)
redis.call('XADD', KEYS[3], 'MAXLEN', '~', '1000', '*', 'group', ARGV[1])
return 1
"""
)

# KEYS: trajectories, assembly, ledger. ARGV: consumer group, entry id, group, expected state,
# order index, scored order, orders of the group.
# Returns 'gone' (finished by another, or no longer in flight), 'waiting', or all scored orders.
_COLLECT = """
local in_flight = redis.call('HGET', KEYS[3], ARGV[3]) == ARGV[4]
if not in_flight or redis.call('HEXISTS', KEYS[2], 'done') == 1 then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  redis.call('XDEL', KEYS[1], ARGV[2])
  return 'gone'
end
redis.call('HSET', KEYS[2], ARGV[5], ARGV[6])
if redis.call('HLEN', KEYS[2]) < tonumber(ARGV[7]) then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  redis.call('XDEL', KEYS[1], ARGV[2])
  return 'waiting'
end
return redis.call('HVALS', KEYS[2])
"""

# KEYS: trajectories, assembly, groups, ledger, scores. ARGV: consumer group, entry id, group,
# expected state, scored group, scores. The entry that completed the group is acknowledged here, not
# when it was collected, so that a reward node that dies in between is taken over. The mark `done`
# stays in the place of the assembly until the group is settled: a second delivery must not assemble
# it again.
_FORWARD = (
    _COUNT_SCORES
    + """
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
if redis.call('HGET', KEYS[4], ARGV[3]) ~= ARGV[4] then return 0 end
if redis.call('HEXISTS', KEYS[2], 'done') == 1 then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'done', 1)
redis.call('XADD', KEYS[3], '*', 'm', ARGV[5], 'g', ARGV[3], 's', ARGV[4])
count_scores(KEYS[5], 6)
return 1
"""
)


class Counts(BaseModel):
    """The ledger's totals."""

    issued: int = 0
    trained: int = 0
    in_flight: int = 0
    dropped: dict[str, int] = {}

    def balanced(self) -> bool:
        """Invariant 1 of the design: every issued group is accounted for."""
        return self.issued == self.trained + self.in_flight + sum(self.dropped.values())


class Scores(BaseModel):
    """Sums over the responses of all groups that were scored, kept or dropped."""

    responses: float = 0.0
    reward: float = 0.0
    accuracy: float = 0.0
    format: float = 0.0


class Ledger:
    """Reads and changes the account of one run."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._issue = client.register_script(_ISSUE)
        self._settle = client.register_script(_SETTLE)
        self._collect = client.register_script(_COLLECT)
        self._forward = client.register_script(_FORWARD)

    async def issue(
        self,
        tasks: list[PromptTask],
        images: Mapping[str, bytes],
        letters: Sequence[str] = (),
    ) -> bool:
        """Enter a group as in flight and queue its orders; False when it was issued before.

        Args:
            tasks: one for each order of the group.
            images: SHA-256 to bytes, for every image of the group.
            letters: ids of dead letters that this group answers; they are removed with it, and it
                is not issued when none of them is there any more.
        """
        keys, first = self._keys, tasks[0]
        done = await self._issue(
            keys=[
                keys.ledger,
                keys.counts,
                keys.prompts,
                keys.image_refs,
                keys.group_images,
                keys.dead_letters,
            ],
            args=[
                first.group_id,
                _in_flight(first.issued_at),
                keys.image_prefix,
                ",".join(images),
                ",".join(letters),
                *images.values(),
                *(encode(task) for task in tasks),
            ],
        )
        return bool(done)

    async def collect(self, entry: Entry, order: ScoredOrder, scored: bytes) -> list[bytes] | None:
        """Add one scored order to its group; all scored orders when the group is complete.

        ``None`` means there is nothing more to do for `entry`: it is acknowledged.
        """
        keys, task = self._keys, order.batch.task
        answer = await self._collect(
            keys=[keys.trajectories, keys.assembly(task.group_id), keys.ledger],
            args=[
                CONSUMER_GROUP,
                entry.id,
                task.group_id,
                _in_flight(task.issued_at),
                task.order_index,
                scored,
                task.orders,
            ],
        )
        return answer if isinstance(answer, list) else None

    async def forward(self, entry: Entry, group: ScoredGroup, issued_at: PolicyVersion) -> bool:
        """Hand a complete group to the trainer and finish `entry`, at once."""
        keys = self._keys
        done = await self._forward(
            keys=[
                keys.trajectories,
                keys.assembly(group.group_id),
                keys.groups,
                keys.ledger,
                keys.scores,
            ],
            args=[
                CONSUMER_GROUP,
                entry.id,
                group.group_id,
                _in_flight(issued_at),
                encode(group),
                *_pairs(group.score_sums()),
            ],
        )
        return bool(done)

    async def drop(
        self,
        group_id: str,
        issued_at: PolicyVersion,
        reason: str,
        stream: str,
        entry: Entry,
        scores: Mapping[str, float] | None = None,
    ) -> bool:
        """Drop a group for `reason` and finish the entry of `stream` that carried it, at once.

        Args:
            scores: `ScoredGroup.score_sums`, when the group is dropped right after its scoring.
        """
        state = f"{DROPPED}:{reason}"
        return await self._settle_one(
            group_id, _in_flight(issued_at), state, state, stream, entry.id, scores=scores
        )

    async def drop_dead_letter(self, stream: WorkStream, entry: Entry, why: str) -> bool:
        """Move an entry that cannot be processed to the dead-letter stream; drop its group.

        The group is dropped for the reason ``dead_letter`` where the entry still tells which it
        is. Returns False when another consumer has finished the entry.
        """
        group_id, expected = entry.group, entry.state
        if not group_id:
            identity = group_identity(entry.payload)
            if identity is None:
                return await stream.bury(entry, self._keys.dead_letters, why)
            group_id, expected = identity[0], _in_flight(identity[1])
        state = f"{DROPPED}:{DEAD_LETTER}"
        return await self._settle_one(
            group_id, expected, state, state, stream.name, entry.id, (entry.payload, why)
        )

    async def train(
        self, group_id: str, issued_at: PolicyVersion, step: int, entry_id: str
    ) -> bool:
        """Record that the group was trained by optimizer step `step` and finish its entry."""
        expected = _in_flight(issued_at)
        return await self._settle_one(
            group_id, expected, f"{TRAINED}:{step}", TRAINED, self._keys.groups, entry_id
        )

    async def _settle_one(
        self,
        group_id: str,
        expected: str,
        state: str,
        counter: str,
        stream: str,
        entry_id: str,
        dead_letter: tuple[bytes | str, str] = ("", ""),
        scores: Mapping[str, float] | None = None,
    ) -> bool:
        keys = self._keys
        done = await self._settle(
            keys=[
                keys.ledger,
                keys.counts,
                keys.events,
                keys.image_refs,
                keys.group_images,
                stream,
                keys.assembly(group_id),
                keys.dead_letters,
                keys.scores,
            ],
            args=[
                group_id,
                expected,
                state,
                counter,
                keys.image_prefix,
                CONSUMER_GROUP,
                entry_id,
                *dead_letter,
                *_pairs(scores or {}),
            ],
        )
        return bool(done)

    async def groups(self) -> list[str]:
        """Ids of all groups that were ever issued in this history."""
        return [group.decode() for group in await self._client.hkeys(self._keys.ledger)]

    async def is_in_flight(self, group_id: str, issued_at: PolicyVersion) -> bool:
        """Whether the group is still to be trained or dropped, in this incarnation."""
        state = await self._client.hget(self._keys.ledger, group_id)
        return state is not None and state.decode() == _in_flight(issued_at)

    async def counts(self) -> Counts:
        """The totals now."""
        raw = await self._client.hgetall(self._keys.counts)
        values = {key.decode(): int(value) for key, value in raw.items()}
        dropped = {
            key.removeprefix(f"{DROPPED}:"): value
            for key, value in values.items()
            if key.startswith(f"{DROPPED}:")
        }
        return Counts(
            issued=values.get("issued", 0),
            trained=values.get(TRAINED, 0),
            in_flight=values.get(IN_FLIGHT, 0),
            dropped=dropped,
        )

    async def scores(self) -> Scores:
        """The sums of the scores, since the ledger was last restored."""
        raw = await self._client.hgetall(self._keys.scores)
        return Scores.model_validate({name.decode(): float(sum) for name, sum in raw.items()})

    async def settled(self) -> dict[str, str]:
        """Group id to ``trained:<step>`` or ``dropped:<reason>``, for groups not in flight.

        This is what a checkpoint keeps of the ledger.
        """
        raw = await self._client.hgetall(self._keys.ledger)
        states = {group.decode(): state.decode() for group, state in raw.items()}
        return {group: state for group, state in states.items() if not _is_in_flight(state)}

    async def restore(self, settled: Mapping[str, str]) -> None:
        """Replace the account by a checkpoint's (see `settled`) and empty the queues, at once.

        Groups that were in flight at the checkpoint, or settled after it, are simply not entered:
        the feeder issues them again. Whatever a node still works on for the lost history names a
        group that is not in flight in its incarnation, and is discarded where it arrives.
        """
        keys = self._keys
        stale = [keys.assembly(group) for group in await self._groups()]
        stale += [keys.image_prefix + name for name in await self._image_names()]
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.delete(keys.ledger, keys.counts, keys.image_refs, keys.group_images, keys.events)
            pipe.delete(keys.scores)
            for chunk in _chunks(stale, 500):
                pipe.delete(*chunk)
            for stream in (keys.prompts, keys.trajectories, keys.groups):
                pipe.delete(stream)
                pipe.xgroup_create(stream, CONSUMER_GROUP, id="0", mkstream=True)
            if settled:
                pipe.hset(keys.ledger, mapping=dict(settled))
                pipe.hset(keys.counts, mapping=_tally(settled.values()))
            await pipe.execute()

    async def _groups(self) -> list[str]:
        return [group.decode() for group in await self._client.hkeys(self._keys.group_images)]

    async def _image_names(self) -> list[str]:
        return [name.decode() for name in await self._client.hkeys(self._keys.image_refs)]


def _tally(states: Iterable[str]) -> dict[str, int]:
    totals = {"issued": 0}
    for state in states:
        counter = TRAINED if state.startswith(TRAINED) else state
        totals["issued"] += 1
        totals[counter] = totals.get(counter, 0) + 1
    return totals


def _pairs(scores: Mapping[str, float]) -> list[str | float]:
    return [item for pair in scores.items() for item in pair]


def _in_flight(issued_at: PolicyVersion) -> str:
    return f"{IN_FLIGHT}:{issued_at.incarnation}"


def _is_in_flight(state: str) -> bool:
    return state.startswith(IN_FLIGHT)


def _chunks(items: list[str], size: int) -> list[list[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
