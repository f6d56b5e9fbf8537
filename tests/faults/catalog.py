"""The faults: each one does its damage once, and returns when the damage itself is over.

The suite checks that the run recovers. Each fault takes the system and a generator of random
numbers, so that a seed repeats a suite.
"""

import asyncio
import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil

from shared.errors import UserError
from shared.weights.manifest import DATA_FILE
from tests.faults.damage import damage_one, garbled, of_unknown_version, truncated
from tests.faults.system import KEYS, System, kill

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

    before = await _incarnation(system)
    await system.until(done, "trainer rank", APPEARS_S)
    await _started_again(system, before)


async def kill_control_plane(system: System, rng: random.Random) -> None:
    """SIGKILL to the trainer's control plane."""
    before = await _incarnation(system)
    await _kill_when_there(system, "trainer")
    await _started_again(system, before)


async def _incarnation(system: System) -> int:
    return (await system.view()).trainer.incarnation


async def _started_again(system: System, before: int) -> None:
    """Wait for the trainer's next incarnation; steps before it belong to the one that died."""

    async def newer() -> bool:
        return await _incarnation(system) > before

    await system.until(newer, "new incarnation of the trainer", APPEARS_S)


async def kill_redis(system: System, rng: random.Random) -> None:
    """SIGKILL to Redis, which is started again from its append-only file."""

    async def process_id() -> int:
        return int((await system.client.info("server"))["process_id"])

    before = await system.patient(process_id)
    psutil.Process(before).kill()

    async def back() -> bool:
        return await process_id() != before

    await system.until(back, "restart of Redis", APPEARS_S)


async def drain_rollout(system: System, rng: random.Random) -> None:
    """SIGTERM to a rollout node: it finishes or hands back its work and leaves."""
    await _signalled(system, rng.choice(system.nodes), signal.SIGTERM)


async def drain_reward(system: System, rng: random.Random) -> None:
    """SIGTERM to a reward node."""
    await _signalled(system, rng.choice(system.rewards), signal.SIGTERM)


async def _signalled(system: System, name: str, number: signal.Signals) -> psutil.Process:
    """Send a signal to a registered node; returns its process."""
    found: list[psutil.Process] = []

    async def done() -> bool:
        view = await system.view()
        process = system.process(name)
        if process is None or not any(node.name == name for node in view.nodes):
            return False
        process.send_signal(number)
        found.append(process)
        return True

    await system.until(done, f"node {name}", APPEARS_S)
    return found[0]


async def hang_rollout(system: System, rng: random.Random) -> None:
    """A rollout node stops for longer than its claims last, then continues."""
    process = await _signalled(system, rng.choice(system.nodes), signal.SIGSTOP)
    await asyncio.sleep(2 * system.config.rollout.lost_after_s)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()


async def hang_engine(system: System, rng: random.Random) -> None:
    """A rollout node's engine gives no answer, while heartbeats and renewals continue."""
    process = await _signalled(system, rng.choice(system.nodes), signal.SIGUSR1)
    await asyncio.sleep(1.25 * system.config.rollout.task_timeout_s)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGUSR2)


async def cut_from_redis(system: System, rng: random.Random) -> None:
    """A rollout node is alive and cut off from Redis for longer than its claims last."""
    wire = system.redis_wires[rng.choice(system.nodes)]
    wire.cut()
    await asyncio.sleep(2 * system.config.rollout.lost_after_s)
    wire.restore()


async def cut_from_trainer(system: System, rng: random.Random) -> None:
    """All rollout nodes are cut off from the trainer's weights until they count as outdated."""
    system.weights_wire.cut()
    await asyncio.sleep(1.5 * system.config.rollout.outdated_after_s)
    system.weights_wire.restore()


async def corrupt_weights(system: System, rng: random.Random) -> None:
    """A bit of a whole version flips on its way to a node that joins; the node must refuse it."""
    before = _said(system, "do not match the manifest")
    system.weights_wire.flip_a_bit("data")
    await _kill_when_there(system, rng.choice(system.nodes))

    async def refused() -> bool:
        return _said(system, "do not match the manifest") > before

    await system.until(refused, "damaged version refused by a node", APPEARS_S)


async def corrupt_delta(system: System, rng: random.Random) -> None:
    """A bit of a delta flips on the way; the node must fetch what it damaged whole."""
    before = _said(system, "of the delta is damaged")
    system.weights_wire.flip_a_bit("delta")

    async def noticed() -> bool:
        return _said(system, "of the delta is damaged") > before

    await system.until(noticed, "damaged delta noticed by a node", APPEARS_S)


async def missing_parent(system: System, rng: random.Random) -> None:
    """The whole versions vanish from the trainer's disk: the next one has no parent."""
    before = _said(system, "fetched: 0 buckets by deltas")
    for file in (system.run_dir / "weights").glob(f"*/{DATA_FILE}"):
        file.unlink(missing_ok=True)

    async def fetched_whole() -> bool:
        return _said(system, "fetched: 0 buckets by deltas") > before

    await system.until(fetched_whole, "version without a parent fetched by a node", APPEARS_S)


async def fall_behind(system: System, rng: random.Random) -> None:
    """A node stands still while others train several versions; then it needs a chain of deltas."""
    name = rng.choice(system.nodes)
    process = await _signalled(system, name, signal.SIGSTOP)
    due = system.steps_done() + 4

    async def trained() -> bool:
        return system.steps_done() >= due

    before = _said(system, "by a chain of", name)
    try:
        await system.until(trained, "steps without the node", APPEARS_S)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()

    async def caught_up() -> bool:
        return _said(system, "by a chain of", name) > before

    await system.until(caught_up, "chain of deltas fetched by the node", APPEARS_S)


def _said(system: System, words: str, *names: str) -> int:
    """How often the logs of these nodes, or of all, have these words."""
    logs = [system.folder / "logs" / f"{name}.log" for name in names or system.nodes]
    return sum(log.read_text(errors="replace").count(words) for log in logs)


async def corrupt_checkpoint(system: System, rng: random.Random) -> None:
    """The whole trainer dies, and a file of its newest checkpoint changes on the disk."""

    async def has_one_to_go_back_to() -> bool:
        return len(list(system.checkpoints.glob("step-*"))) > 1

    async def is_there() -> bool:
        return system.process("trainer") is not None

    await system.until(has_one_to_go_back_to, "second checkpoint", APPEARS_S)
    await system.until(is_there, "process of the trainer", APPEARS_S)
    before = await _incarnation(system)
    async with system.nothing_starts:
        below = system.below("trainer")
        await _kill_when_there(system, "trainer")
        await asyncio.to_thread(psutil.wait_procs, below, timeout=APPEARS_S)
        newest = sorted(system.checkpoints.glob("step-*"))[-1]
        flip_a_bit(rng.choice([path for path in sorted(newest.rglob("*")) if _holds_bytes(path)]))
    aside = newest.with_name(f"damaged-{newest.name}")

    async def set_aside() -> bool:
        return aside.exists()

    await system.until(set_aside, f"{aside}", APPEARS_S)
    await _started_again(system, before)


def _holds_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def flip_a_bit(file: Path) -> None:
    """Change one bit in the middle of a file."""
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))


async def full_disk(system: System, rng: random.Random) -> None:
    """The checkpoints' disk is full when a checkpoint is due."""
    stuffing = system.checkpoints / "stuffing"
    log = system.folder / "logs" / "trainer.log"
    before = log.read_text(errors="replace").count("the disk lacks")

    async def refused() -> bool:
        fill_up(stuffing)
        return log.read_text(errors="replace").count("the disk lacks") > before

    try:
        await system.until(refused, "checkpoint refused for lack of room", APPEARS_S)
    finally:
        stuffing.unlink()


def fill_up(file: Path) -> None:
    """Grow a file until its disk is almost full."""
    free = shutil.disk_usage(file.parent).free - 4096
    if free <= 0:
        return
    with file.open("ab") as stream:
        try:
            os.posix_fallocate(stream.fileno(), stream.tell(), free)
        except OSError as error:
            # A checkpoint took the space meanwhile; the next call takes what is left.
            if error.errno != errno.ENOSPC:
                raise


async def malformed_message(system: System, rng: random.Random) -> None:
    """A part of a message is overwritten."""
    await damage_one(system, garbled, rng)


async def truncated_message(system: System, rng: random.Random) -> None:
    """A message ends in the middle."""
    await damage_one(system, truncated, rng)


async def unknown_version(system: System, rng: random.Random) -> None:
    """A message has the schema version of a later release."""
    await damage_one(system, of_unknown_version, rng)


async def foreign_entry(system: System, rng: random.Random) -> None:
    """An entry that none of the services wrote appears on a stream; it belongs to no group."""
    stream = rng.choice([KEYS.prompts, KEYS.trajectories, KEYS.groups])
    noise, field = rng.randbytes(rng.randrange(1, 200)), rng.choice(["m", "x"])
    before = await system.patient(lambda: system.client.xlen(KEYS.dead_letters))
    await system.patient(lambda: system.client.xadd(stream, {field: noise}))

    async def buried() -> bool:
        return int(await system.client.xlen(KEYS.dead_letters)) > before

    await system.until(buried, f"dead letter from {stream}", APPEARS_S)


FAULTS: dict[str, tuple[Fault, int]] = {
    "kill -9 of a rollout node": (kill_rollout, 12),
    "kill -9 of a reward node": (kill_reward, 12),
    "kill -9 of a trainer rank": (kill_rank, 8),
    "kill -9 of the control plane": (kill_control_plane, 8),
    "kill -9 and restart of Redis": (kill_redis, 10),
    "SIGTERM drain of a rollout node": (drain_rollout, 6),
    "SIGTERM drain of a reward node": (drain_reward, 2),
    "hang of a rollout node": (hang_rollout, 4),
    "hang of a rollout node's engine": (hang_engine, 3),
    "node cut off from Redis": (cut_from_redis, 6),
    "nodes cut off from the trainer": (cut_from_trainer, 5),
    "corrupted weights on the wire": (corrupt_weights, 4),
    "corrupted delta on the wire": (corrupt_delta, 4),
    "missing parent of a version": (missing_parent, 3),
    "node several versions behind": (fall_behind, 3),
    "corrupted checkpoint": (corrupt_checkpoint, 4),
    "full disk at a checkpoint": (full_disk, 4),
    "malformed message": (malformed_message, 6),
    "truncated message": (truncated_message, 6),
    "message of unknown version": (unknown_version, 6),
    "entry of no service of ours": (foreign_entry, 2),
}
"""By name: the fault, and how often the whole suite injects it."""


@contextlib.contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    """A separate disk for the checkpoints, so that it can be filled; needs root.

    Raises:
        UserError: when it cannot be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if done.returncode:
        raise UserError(f"faults: a full disk needs root to mount one: {done.stderr.strip()}")
    try:
        yield
    finally:
        unmount(folder)


def unmount(folder: Path) -> None:
    """Undo `small_disk`."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)
