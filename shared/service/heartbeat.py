"""A node's entry on the list of live nodes, for as long as the node lives."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from shared.service.connection import OUTAGE, Patience
from shared.wire.registry import NodeInfo, Registry


async def stay_registered(
    registry: Registry,
    patient: Patience,
    info: Callable[[], NodeInfo],
    *,
    every_s: float,
    lost_after_s: float,
    check: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Send heartbeats until cancelled, then take the node off the list.

    Args:
        info: what the next heartbeat says.
        check: awaited before each heartbeat; raises when the node no longer works.

    Raises:
        WaitTimeout: when Redis stays away longer than ``redis.timeout_s``.
    """
    try:
        while True:
            if check is not None:
                await check()
            await patient(lambda: registry.heartbeat(info(), lost_after_s))
            await asyncio.sleep(every_s)
    finally:
        # Without Redis the last heartbeat expires by itself.
        with contextlib.suppress(*OUTAGE):
            await registry.leave(info().name)
