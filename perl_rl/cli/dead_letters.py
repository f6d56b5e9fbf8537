"""``perl-rl dead-letters``: lists entries that no service could process, and replays their groups.

A dead letter's group was dropped with all its orders. A replay therefore issues the whole question
again as a new group: attempt 2 of ``g00000007`` is ``g00000007.2``. The dropped group stays
dropped; the ledger gets one more issued group.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import redis.asyncio

from perl_rl.folder_lock import is_held
from perl_rl.launch.dead_letters import FILE
from services.trainer.plan.groups import GroupPlan
from shared.config import Config, load_config
from shared.errors import UserError
from shared.formats import load
from shared.images import digest, read_image_file
from shared.named_folders import run_config
from shared.service.connection import RedisUnreachable, connect
from shared.wire.board import VersionBoard
from shared.wire.counts import DROPPED
from shared.wire.dead_letters import letters, read_letters
from shared.wire.keys import Keys
from shared.wire.ledger import DEAD_LETTER, Ledger
from shared.wire.messages import PolicyVersion, PromptTask
from shared.wire.runstate import RunState

T = TypeVar("T")


def list_letters(run: Path) -> list[str]:
    """The dead letters of a run, one a line, the oldest first.

    Args:
        run: its folder or its configuration file. When Redis has ended, `launch` has left them in
            the folder.
    """
    config_file = run if run.is_file() else run_config(run)
    config = load_config(config_file)
    try:
        found = asyncio.run(_with_redis(config, lambda client: letters(client, Keys(config.run))))
    except RedisUnreachable:
        kept, folder = config_file.parent / FILE, config_file.parent
        if not kept.exists() and not (folder / "summary.json").exists():
            raise
        found = read_letters(kept)
    return [letter.line() for letter in found]


def replay_letters(run: Path, ids: list[str]) -> list[str]:
    """Issue the groups of these dead letters (all, when `ids` is empty) again.

    Returns a line for each group that says what was done.

    Raises:
        UserError: when a letter does not exist, or the run is not training.
    """
    config_file = run if run.is_file() else run_config(run)
    config = load_config(config_file)
    # The run's trainer keeps pictures from inside data files there.
    images = config_file.parent / "images"
    try:
        return asyncio.run(_with_redis(config, lambda client: replay(client, config, images, ids)))
    except RedisUnreachable:
        if not (config_file.parent / "summary.json").exists() or is_held(config_file.parent):
            raise
        raise UserError(f"{run}: the run is over: it trains no more groups") from None


async def _with_redis(
    config: Config, work: Callable[[redis.asyncio.Redis], Awaitable[list[T]]]
) -> list[T]:
    if config.redis.url is None:
        raise UserError(
            "redis.url is missing; for a run that launch started, use the config.yaml in its run "
            "folder"
        )
    client = await connect(config.redis.url, config.redis.timeout_s, ca_file=config.redis.ca_file)
    try:
        return await work(client)
    finally:
        await client.aclose()


async def replay(
    client: redis.asyncio.Redis, config: Config, images: Path, ids: list[str]
) -> list[str]:
    """See `replay_letters`."""
    keys = Keys(config.run)
    state = await RunState(client, keys).get()
    current = await VersionBoard(client, keys).current()
    if state.phase in ("done", "failed") or current is None:
        raise UserError(f"run '{config.run}' is {state.phase}: it trains no more groups")
    found = await letters(client, keys)
    unknown = sorted(set(ids) - {letter.id for letter in found})
    if unknown:
        raise UserError(f"run '{config.run}' has no dead letter {unknown[0]}; list them first")
    by_group: dict[str, list[str]] = {}
    for letter in found:
        if letter.group_id is not None:
            by_group.setdefault(letter.group_id, []).append(letter.id)
    done = [
        f"{letter.id}: names no group; kept"
        for letter in found
        if letter.group_id is None and (letter.id in ids or not ids)
    ]
    data = load(config.data, config.data.train_sources(), images)
    plan = GroupPlan(config, data.samples, data.sizes)
    for group_id, of_group in by_group.items():
        if not ids or set(ids) & set(of_group):
            done.append(await _again(client, config, plan, group_id, of_group, current.version))
    return done


async def _again(
    client: redis.asyncio.Redis,
    config: Config,
    plan: GroupPlan,
    group_id: str,
    of_group: list[str],
    version: PolicyVersion,
) -> str:
    ledger = Ledger(client, Keys(config.run))
    states = await ledger.settled()
    if states.get(group_id) != f"{DROPPED}:{DEAD_LETTER}":
        return f"{group_id}: {states.get(group_id, 'in flight or of a lost history')}; kept"
    tasks, images = _tasks(config, plan, group_id, version)
    base = group_id.partition(".")[0]
    attempt = 2 + sum(name.startswith(f"{base}.") for name in await ledger.groups())
    name = f"{base}.{attempt}"
    named = [one.model_copy(update={"group_id": name}) for one in tasks]
    if await ledger.issue(named, images, of_group):
        return f"{group_id}: issued again as {name}"
    return f"{group_id}: another replay has issued it again already"


def _tasks(
    config: Config, plan: GroupPlan, group_id: str, version: PolicyVersion
) -> tuple[list[PromptTask], dict[str, bytes]]:
    index = int(group_id.removeprefix("g").partition(".")[0])
    sample, _ = plan.sample(index)
    data = {
        file: read_image_file(Path(file), config.data.max_image_pixels) for file in sample.images
    }
    names = {file: digest(content) for file, content in data.items()}
    images = {names[file]: content for file, content in data.items()}
    progress = version.step / config.trainer.steps
    return plan.tasks(index, progress, names, version), images
