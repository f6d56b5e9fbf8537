"""Damages messages: replaces a real entry of a stream by a broken one.

The entry is taken as a worker would take it, and handed over to its own stream with a broken
payload, as if its bytes had been damaged in Redis. Group and state beside the payload stay.
"""

import random
from collections.abc import Callable

from shared.wire.counts import DROPPED, IN_FLIGHT
from shared.wire.ledger import DEAD_LETTER, Ledger
from shared.wire.messages import (
    SCHEMA_VERSION,
    MalformedMessage,
    Message,
    PromptTask,
    ScoredGroup,
    TrajectoryBatch,
    decode,
)
from shared.wire.queues import Entry, WorkStream
from tests.faults.system import KEYS, System

Damage = Callable[[bytes, random.Random], bytes]

STREAMS: dict[str, type[Message]] = {
    KEYS.prompts: PromptTask,
    KEYS.trajectories: TrajectoryBatch,
    KEYS.groups: ScoredGroup,
}

WITHIN_S = 120.0
_BLOCK_S = 0.2
_NAME = "damage"


def truncated(data: bytes, rng: random.Random) -> bytes:
    """The message without its end."""
    return data[: rng.randrange(1, len(data))]


def of_unknown_version(data: bytes, rng: random.Random) -> bytes:
    """The message with the schema version of a later release."""
    head = data.index(bytes([SCHEMA_VERSION]))
    return data[:head] + bytes([rng.randrange(SCHEMA_VERSION + 1, 128)]) + data[head + 1 :]


def garbled(data: bytes, rng: random.Random) -> bytes:
    """The message with a part overwritten, and its length unchanged."""
    start = rng.randrange(len(data) // 2)
    noise = rng.randbytes(min(64, len(data) - start))
    return data[:start] + noise + data[start + len(noise) :]


async def damage_one(system: System, damage: Damage, rng: random.Random) -> None:
    """Damage one message, and wait until it is a dead letter and its group is dropped for that.

    If the trainer restarts meanwhile, it empties the streams, and another message is damaged.

    Raises:
        FaultFound: when that does not happen in time.
    """
    stream = rng.choice(sorted(STREAMS))
    while True:
        entry, broken = await _damaged(system, stream, damage, rng)

        async def decided(entry: Entry = entry, broken: bytes = broken) -> bool:
            if await _buried_and_dropped(system, entry, broken):
                return True
            return await _history_lost(system, entry)

        await system.until(decided, f"dead letter of {entry.group} from {stream}", WITHIN_S)
        if not await _history_lost(system, entry):
            return


async def _damaged(
    system: System, stream: str, damage: Damage, rng: random.Random
) -> tuple[Entry, bytes]:
    """Damage an entry; returns it as it was, and its new payload."""
    work = WorkStream(system.client, stream, _NAME)
    found: list[tuple[Entry, bytes]] = []

    async def taken() -> bool:
        for entry in await work.read(1, _BLOCK_S):
            broken = _undecodable(STREAMS[stream], entry.payload, damage, rng)
            # Not done when the trainer has emptied the stream meanwhile.
            if await work.hand_over(entry, stream, broken):
                found.append((entry, broken))
        return bool(found)

    await system.until(taken, f"message on {stream}", WITHIN_S)
    return found[0]


async def _buried_and_dropped(system: System, entry: Entry, broken: bytes) -> bool:
    letters = await system.client.xrange(KEYS.dead_letters)
    buried = any(fields[b"m"] == broken for _, fields in letters)
    states = await Ledger(system.client, KEYS).settled()
    return buried and states.get(entry.group) == f"{DROPPED}:{DEAD_LETTER}"


async def _history_lost(system: System, entry: Entry) -> bool:
    incarnation = (await system.view()).trainer.incarnation
    return entry.state != f"{IN_FLIGHT}:{incarnation}"


def _undecodable(kind: type[Message], data: bytes, damage: Damage, rng: random.Random) -> bytes:
    """Damage the message until it cannot be decoded: noise inside a text may leave it readable."""
    while True:
        broken = damage(data, rng)
        try:
            decode(kind, broken)
        except MalformedMessage:
            return broken
