"""Asks a run's rollout nodes its held-out questions."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis.asyncio

from shared.config import Config
from shared.errors import WaitTimeout
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion
from shared.wire.registry import Registry

if TYPE_CHECKING:
    from perl_rl.eval.heldout import HeldOutResult


@dataclass(frozen=True)
class Wanted:
    """Which nodes are asked, and how long there may be none."""

    version: Callable[[PolicyVersion], bool]
    """Whether a node with this policy version is asked."""
    patience_s: float
    """How long there may be no such node."""
    absent_s: float
    """How long there may be no rollout node at all."""
    most: int | None = None
    """Prompts that each node is asked at a time; default: a full batch of its engine."""


async def ask_nodes(
    client: redis.asyncio.Redis,
    config: Config,
    folder: Path,
    who: str,
    what: str,
    wanted: Wanted,
    told: Callable[[int, int], None],
) -> "HeldOutResult":
    """What the nodes answer.

    Args:
        folder: the run's; pictures inside data files are copied there.
        who: the caller, when it takes too long.
        what: which evaluation, likewise.
        told: called with how many answers are there, and how many there will be.

    Raises:
        NoNode: when there is no such node any more.
        UserError: when a question gets no answer.
        WaitTimeout: when it takes longer than ``eval.timeout_s``.
    """
    # Here, because pictures and the client of the API take a while to import.
    from perl_rl.eval.heldout import HeldOutResult, decoding, held_out
    from perl_rl.eval.nodes import RolloutNodes

    timeout_s, greedily = config.eval.timeout_s, decoding(config)
    questions = await asyncio.to_thread(held_out, config, folder)
    nodes = RolloutNodes(
        Registry(client, Keys(config.run)),
        config,
        greedily,
        wanted.version,
        wanted.patience_s,
        wanted.absent_s,
        wanted.most,
    )
    try:
        async with nodes, asyncio.timeout(timeout_s):
            found = await questions.ask(nodes, told)
    except TimeoutError:
        raise WaitTimeout(who, f"the {what}", timeout_s, "eval.timeout_s") from None
    asked = questions.asked(greedily)
    return HeldOutResult(**dict(found), asked=asked, versions=nodes.versions())
