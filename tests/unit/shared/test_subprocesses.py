"""Starts that are cancelled end at once and leave no process behind."""

import asyncio
import sys
from asyncio.subprocess import PIPE

import psutil
import pytest

from shared.subprocesses import kill, start_process

_SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
_TALKER = (sys.executable, "-c", "import sys\nwhile True: sys.stdout.write('x' * 65536)")


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
async def test_a_cancelled_start_ends_and_leaves_no_process(turns: int) -> None:
    before = set(psutil.Process().children())
    starting = asyncio.ensure_future(start_process(*_SLEEPER, stdin=PIPE, stdout=PIPE, stderr=PIPE))
    for _ in range(turns):
        await asyncio.sleep(0)
    if not starting.done():
        starting.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait({starting})
        assert starting.cancelled()
    else:
        await kill(starting.result())
    assert set(psutil.Process().children()) == before


async def test_a_start_that_is_cancelled_twice_ends() -> None:
    before = set(psutil.Process().children())
    starting = asyncio.ensure_future(start_process(*_SLEEPER, stdin=PIPE, stdout=PIPE))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.sleep(0)
    starting.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait({starting})
    assert starting.cancelled()
    assert set(psutil.Process().children()) == before


async def test_a_process_whose_output_nobody_reads_is_killed() -> None:
    before = set(psutil.Process().children())
    process = await start_process(*_TALKER, stdout=PIPE)
    assert process.stdout is not None
    await process.stdout.readexactly(1)
    async with asyncio.timeout(20):
        await kill(process)
    assert set(psutil.Process().children()) == before


async def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        await start_process("/no/such/command", stdout=PIPE)
