"""A worker host of the trainer, started as its users start it: health, metrics, and its end.

The test plays the trainer's own host; `test_multihost.py` has two real ones that train.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from services.trainer.hosts.presence import beat
from shared.reaper import descendants, running
from shared.service.auth import bearer
from shared.service.connection import connect
from shared.service.ports import free_port
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from tests.scripted_sampler import demo_config

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

TOKEN = "s3cret"
WAIT_S = 60.0


class Host:
    """The second of two hosts."""

    def __init__(self, folder: Path, redis_url: str, **trainer: object) -> None:
        settings = demo_config(
            folder, redis_url, hosts=2, rendezvous=f"127.0.0.1:{free_port()}", **trainer
        )
        settings["security"] = {"token": TOKEN}
        self.port = free_port()
        self._file = folder / "config.yaml"
        self._file.write_text(yaml.safe_dump(settings))
        self._folder = folder

    @contextlib.asynccontextmanager
    async def started(self, *how: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """``perl-rl trainer`` with the words `how`; it is gone afterwards."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "perl_rl", "trainer", how[0], str(self._file), *how[1:]),
            *("--port", str(self.port), "--run-dir", str(self._folder / "run")),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def status(self, path: str, token: str | None = None) -> int:
        """The status of an answer; 0 while nobody listens."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            try:
                return (await client.get(path, headers=bearer(token))).status_code
            except httpx.ConnectError:
                return 0

    async def comes_to(self, path: str, status: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while await self.status(path) != status:
                await asyncio.sleep(0.05)

    async def metric(self, name: str) -> float:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            text = (await client.get("/metrics", headers=bearer(TOKEN))).text
        (value,) = (line.split()[1] for line in text.splitlines() if line.startswith(f"{name} "))
        return float(value)


@pytest.fixture
async def trainer(redis_url) -> AsyncIterator[RunState]:
    """The run's state; the trainer's own host is not there yet."""
    client = await connect(redis_url, 10.0)
    yield RunState(client, Keys("test"))
    await client.aclose()


@pytest.fixture
async def there(trainer) -> AsyncIterator[RunState]:
    """The run's state while the trainer's own host is there."""
    beating = asyncio.create_task(beat(trainer))
    yield trainer
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_it_lives_before_the_trainer_answers_and_is_ready_once_it_does(
    redis_url, trainer, tmp_path
):
    # What a trainer that is long gone has left is no answer.
    await trainer.update(phase="training", incarnation=4)
    await trainer.beat()
    host = Host(tmp_path, redis_url)
    async with host.started("join", "--host", "1") as process:
        await host.comes_to("/healthz", 200)
        assert await host.status("/readyz") == 503
        assert await host.metric("perl_trainer_host_ranks_running") == 0

        await trainer.update(phase="failed")
        beating = asyncio.create_task(beat(trainer))
        await host.comes_to("/readyz", 200)
        beating.cancel()

        assert await host.status("/metrics") == 401
        assert await host.status("/metrics", "wrong") == 401
        assert await host.status("/metrics", TOKEN) == 200
        assert await host.metric("perl_trainer_host_incarnation") == 0

        process.terminate()
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0


async def test_it_says_for_whom_it_waited_in_vain(redis_url, trainer, tmp_path):
    host = Host(tmp_path, redis_url, start_timeout_s=1.5)
    async with host.started("join", "--host", "1") as process:
        _, errors = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 2
    assert (
        "perl-rl: error: trainer join --host 1: waited 1.5 s for the trainer on host 0 "
        "(perl-rl trainer serve, same run and Redis) to answer (trainer.start_timeout_s); gave up"
    ) in errors.decode().splitlines()


async def test_told_to_stop_it_ends_its_ranks(redis_url, there, tmp_path):
    host = Host(tmp_path, redis_url)
    # The command of a pod that only knows its own number.
    async with host.started("serve", "--host", "1") as process:
        await there.update(phase="starting", incarnation=7)
        async with asyncio.timeout(WAIT_S):
            while not (below := _torchrun(process.pid)):
                assert process.returncode is None
                await asyncio.sleep(0.05)
        assert await host.metric("perl_trainer_host_ranks_running") == 1
        assert await host.metric("perl_trainer_host_incarnation") == 7

        await there.update(incarnation=1)
        async with asyncio.timeout(WAIT_S):
            while await host.metric("perl_trainer_host_incarnation") != 1:
                await asyncio.sleep(0.05)
            while not (below := _torchrun(process.pid)):
                await asyncio.sleep(0.05)

        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
    assert not [pid for pid in below if running(pid)]


@pytest.mark.parametrize("stays", [True, False])
async def test_after_the_last_step_it_stays_where_the_trainer_stays(
    redis_url, there, tmp_path, stays
):
    await there.update(phase="done", incarnation=2)
    host = Host(tmp_path, redis_url, serve_after_end=stays)
    async with host.started("join", "--host", "1") as process:
        if stays:
            await host.comes_to("/readyz", 200)
            assert await host.metric("perl_trainer_host_ranks_running") == 0
            process.terminate()
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0


def _torchrun(above: int) -> list[int]:
    """The processes below `above`, once torchrun is one of them."""
    found = descendants(above)
    with contextlib.suppress(psutil.NoSuchProcess):
        if any("torch.distributed.run" in psutil.Process(pid).cmdline() for pid in found):
            return found
    return []
