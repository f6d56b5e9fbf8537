"""The faults: each does its harm once, and returns when the harm itself is over.

That the run gets on afterwards is for the suite to see. Each takes the system and a generator of
random numbers, so that a seed repeats a suite.
"""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil

from shared.messages import PolicyVersion, encode
from tests import builders
from tests.faults.system import KEYS, FaultFound, System, kill

Fault = Callable[[System, random.Random], Awaitable[None]]

APPEARS_S = 120.0


async def _kill_when_there(system: System, name: str) -> None:
    async def done() -> bool:
        return kill(system.process(name))

    await system.until(done, f"process of {name}", APPEARS_S)


async def kill_rollout(system: System, rng: random.Random) -> None:
    """SIGKILL to a rollout node."""
    await _kill_when_there(system, rng.choice(system.nodes))


async def kill_reward(system: System, rng: random.Random) -> None:
    """SIGKILL to a reward node."""
    await _kill_when_there(system, rng.choice(system.rewards))


async def kill_rank(system: System, rng: random.Random) -> None:
    """SIGKILL to a trainer rank."""

    async def done() -> bool:
        ranks = system.ranks()
        return bool(ranks) and kill(rng.choice(ranks))

    await system.until(done, "trainer rank", APPEARS_S)


async def kill_control_plane(system: System, rng: random.Random) -> None:
    """SIGKILL to the trainer's control plane."""
    await _kill_when_there(system, "trainer")


async def kill_redis(system: System, rng: random.Random) -> None:
    """SIGKILL to Redis, which is started again from its append-only file."""
    process_id = int((await system.client.info("server"))["process_id"])
    psutil.Process(process_id).kill()

    async def back() -> bool:
        return int((await system.client.info("server"))["process_id"]) != process_id

    await system.until(back, "restart of Redis", APPEARS_S)


async def drain_rollout(system: System, rng: random.Random) -> None:
    """SIGTERM to a rollout node: it finishes or hands back its work and leaves."""
    name = rng.choice(system.nodes)

    async def told() -> bool:
        process = system.process(name)
        if process is None:
            return False
        process.terminate()
        return True

    await system.until(told, f"process of {name}", APPEARS_S)


async def hang_rollout(system: System, rng: random.Random) -> None:
    """A rollout node stands still for longer than its claims last, then goes on."""
    process = system.process(rng.choice(system.nodes))
    if process is None:
        return await hang_rollout(system, rng)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()
        await asyncio.sleep(2 * system.config.rollout.lost_after_s)
        process.resume()


async def cut_from_redis(system: System, rng: random.Random) -> None:
    """A rollout node is alive and cut off from Redis for longer than its claims last."""
    wire = system.redis_wires[rng.choice(system.nodes)]
    wire.cut()
    await asyncio.sleep(2 * system.config.rollout.lost_after_s)
    wire.mend()


async def cut_from_trainer(system: System, rng: random.Random) -> None:
    """All rollout nodes are cut off from the trainer's weights until they count as outdated."""
    system.weights_wire.cut()
    await asyncio.sleep(1.5 * system.config.rollout.outdated_after_s)
    system.weights_wire.mend()


async def corrupt_weights(system: System, rng: random.Random) -> None:
    """A bit of a version's bytes flips on the way."""
    wire, before = system.weights_wire, system.weights_wire.flipped
    wire.flip_a_bit()

    async def flipped() -> bool:
        return wire.flipped > before

    await system.until(flipped, "version fetched", APPEARS_S)


async def corrupt_checkpoint(system: System, rng: random.Random) -> None:
    """A file of the newest checkpoint changes on the disk, and the trainer's host dies."""

    async def has_one_to_go_back_to() -> bool:
        return len(list(system.checkpoints.glob("step-*"))) > 1

    await system.until(has_one_to_go_back_to, "second checkpoint", APPEARS_S)
    process = system.process("trainer")
    below = [] if process is None else process.children(recursive=True)
    await _kill_when_there(system, "trainer")
    psutil.wait_procs(below, timeout=APPEARS_S)
    newest = sorted(system.checkpoints.glob("step-*"))[-1:]
    for folder in newest:
        file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
        with file.open("r+b") as stream:
            stream.seek(file.stat().st_size // 2)
            byte = stream.read(1)
            stream.seek(-1, os.SEEK_CUR)
            stream.write(bytes([byte[0] ^ 1]))


async def full_disk(system: System, rng: random.Random) -> None:
    """The checkpoints' disk is full when one is due."""
    stuffing = system.checkpoints / "stuffing"
    free = shutil.disk_usage(system.checkpoints).free
    with stuffing.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(1, free - 4096))
    log = system.folder / "logs" / "trainer.log"
    before = log.read_text(errors="replace").count("the disk lacks")

    async def refused() -> bool:
        return log.read_text(errors="replace").count("the disk lacks") > before

    try:
        await system.until(refused, "checkpoint refused for lack of room", APPEARS_S)
    finally:
        stuffing.unlink()


async def malformed_message(system: System, rng: random.Random) -> None:
    """Bytes that are no message appear on a stream."""
    stream = rng.choice([KEYS.prompts, KEYS.trajectories, KEYS.groups])
    await _bury(system, stream, rng.randbytes(rng.randrange(1, 200)))


async def truncated_message(system: System, rng: random.Random) -> None:
    """A message that ends in the middle."""
    stream, data = rng.choice(
        [(KEYS.prompts, encode(builders.task())), (KEYS.trajectories, encode(builders.batch()))]
    )
    await _bury(system, stream, data[: rng.randrange(1, len(data))])


async def unknown_version(system: System, rng: random.Random) -> None:
    """A message of a release to come."""
    data = encode(builders.task(issued_at=PolicyVersion(incarnation=9_999, step=1)))
    head = data.index(b"PromptTask") + len(b"PromptTask")
    await _bury(system, KEYS.prompts, data[:head] + bytes([99]) + data[head + 1 :])


async def _bury(system: System, stream: str, payload: bytes) -> None:
    before = await system.client.xlen(KEYS.dead_letters)
    await system.client.xadd(stream, {"m": payload})

    async def buried() -> bool:
        return int(await system.client.xlen(KEYS.dead_letters)) > before

    await system.until(buried, f"dead letter from {stream}", APPEARS_S)


FAULTS: dict[str, tuple[Fault, int]] = {
    "kill -9 of a rollout node": (kill_rollout, 12),
    "kill -9 of a reward node": (kill_reward, 12),
    "kill -9 of a trainer rank": (kill_rank, 8),
    "kill -9 of the control plane": (kill_control_plane, 8),
    "kill -9 and restart of Redis": (kill_redis, 10),
    "SIGTERM drain of a rollout node": (drain_rollout, 8),
    "hang of a rollout node": (hang_rollout, 6),
    "node cut off from Redis": (cut_from_redis, 6),
    "nodes cut off from the trainer": (cut_from_trainer, 6),
    "corrupted weights on the wire": (corrupt_weights, 8),
    "corrupted checkpoint": (corrupt_checkpoint, 4),
    "full disk at a checkpoint": (full_disk, 4),
    "malformed message": (malformed_message, 8),
    "truncated message": (truncated_message, 6),
    "message of unknown version": (unknown_version, 6),
}
"""Name to the fault and how often the whole suite injects it."""


@contextlib.asynccontextmanager
async def small_disk(folder: Path, mib: int) -> AsyncIterator[None]:
    """A disk of its own for the checkpoints, so that it can be filled; needs root.

    Raises:
        FaultFound: when it cannot be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode:
        raise FaultFound(f"a full disk needs root to mount one: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)
