"""Operations on Redis that are cancelled."""

import asyncio

import pytest

from shared.service.connection import heeding_cancel

pytestmark = pytest.mark.anyio


async def test_a_cancel_that_the_operation_forgets_is_heeded() -> None:
    """As the Redis client sends: the cancel comes when the sending ends."""
    rounds = 0

    async def sends() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            loop.cancel()

    async def repeat() -> None:
        while rounds < 10:
            await heeding_cancel(lambda: asyncio.wait_for(sends(), 10.0))

    loop = asyncio.create_task(repeat())
    await asyncio.wait({loop}, timeout=10.0)
    assert loop.cancelled()
    assert rounds == 3


async def test_a_cancel_that_is_lost_in_an_error_is_heeded() -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(10.0)
        except asyncio.CancelledError:
            raise ConnectionError from None

    task = asyncio.create_task(heeding_cancel(fails))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=10.0)
    assert task.cancelled()


async def test_a_timeout_around_it_stays_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await heeding_cancel(lambda: asyncio.sleep(10.0))


async def test_it_works_in_a_task_that_is_being_cancelled() -> None:
    cleaned: list[int] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10.0)
        finally:
            cleaned.append(await heeding_cancel(lambda: asyncio.sleep(0.0, result=1)))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=10.0)
    assert task.cancelled() and cleaned == [1]
