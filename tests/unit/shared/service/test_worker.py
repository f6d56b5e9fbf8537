"""The life cycle that the workers on streams share, on a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio

from shared.service.connection import Patience, connect
from shared.service.worker import StreamWorker
from shared.wire.queues import Entry, WorkStream

WAIT_S = 30.0
SETTINGS = SimpleNamespace(concurrent_tasks=2, max_attempts=2, lost_after_s=0.3)


class Fatal(Exception):
    """Ends the worker."""


class Job:
    """What a test's entries ask for: the payload names what becomes of the attempt."""

    def __init__(self, stream: WorkStream) -> None:
        self.stream = stream
        self.in_work: set[str] = set()
        self.most = 0
        self.given_up: list[tuple[bytes, int]] = []
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()

    async def handle(self, entry: Entry) -> None:
        self.most = max(self.most, len(self.in_work))
        if entry.payload == b"fails":
            raise ValueError("try again")
        if entry.payload == b"fatal":
            raise Fatal
        if entry.payload == b"waits":
            await self.gate.wait()
        await self.stream.finish(entry)

    async def give_up(self, entry: Entry, tries: int) -> None:
        self.given_up.append((entry.payload, tries))
        await self.stream.finish(entry)

    def failed(self, entry: Entry, error: Exception) -> None:
        self.failures.append(error)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = await connect(redis_url, timeout_s=10)
    yield client
    await client.aclose()


@asynccontextmanager
async def working(
    client: redis.asyncio.Redis, *payloads: bytes, **options: Any
) -> AsyncIterator[tuple[Job, StreamWorker, asyncio.Task[None]]]:
    """A worker on a stream with these entries; leaving the block stops it."""
    for payload in payloads:
        await client.xadd("work", {"m": payload})
    job = Job(WorkStream(client, "work", "one"))
    handle = options.pop("handle", job.handle)
    calls = {"handle": handle, "give_up": job.give_up, "failed": job.failed}
    patient = Patience(client, "one", 10.0)
    worker = StreamWorker(
        job.stream, patient, SETTINGS, fatal=Fatal, in_work=job.in_work, **calls, **options
    )
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        yield job, worker, running
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=WAIT_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_an_entry_that_fails_is_tried_again_then_given_up(client) -> None:
    async with working(client, b"fails") as (job, worker, running):
        await until(lambda: bool(job.given_up))
    running.result()
    assert job.given_up == [(b"fails", 2)]
    assert [str(error) for error in job.failures] == ["try again"] * 2
    assert await client.xlen("work") == 0 and not job.in_work
    assert worker.state == "draining"


async def test_no_more_entries_are_in_work_than_allowed_and_the_drain_finishes_them(client) -> None:
    async with working(client, *[b"waits"] * 3) as (job, worker, running):
        await until(lambda: len(job.in_work) == 2)
        assert worker.state == "ready"
        asyncio.get_running_loop().call_later(0.2, job.gate.set)
    running.result()
    assert job.most == 2 and not job.in_work


async def test_what_is_not_done_within_the_drain_is_left_to_another_worker(client) -> None:
    async with working(client, b"waits", drain_timeout_s=0.1) as (job, _, running):
        await until(lambda: len(job.in_work) == 1)
    running.result()
    assert not job.in_work and job.failures == []
    async with working(client) as (heir, _, running):
        heir.gate.set()
        async with asyncio.timeout(WAIT_S):
            while await client.xlen("work"):
                await asyncio.sleep(0.01)
    running.result()


async def test_a_fatal_error_ends_the_worker_as_itself(client) -> None:
    async with working(client, b"waits", b"fatal") as (job, _, running):
        await asyncio.wait({running}, timeout=WAIT_S)
        with pytest.raises(Fatal):
            running.result()
    assert not job.in_work and job.failures == []


async def test_a_node_that_is_not_ready_takes_nothing(client) -> None:
    ready = asyncio.Event()

    async def until_ready() -> None:
        await ready.wait()

    async with working(client, b"does", until_ready=until_ready) as (_, worker, running):
        await until(lambda: worker.state == "ready")
        pending = await client.xpending("work", "workers")
        assert pending["pending"] == 0
        assert await client.xlen("work") == 1
        ready.set()
        async with asyncio.timeout(WAIT_S):
            while await client.xlen("work"):
                await asyncio.sleep(0.01)
    running.result()


async def test_of_entries_that_are_read_together_the_oldest_group_is_begun_first(
    client: redis.asyncio.Redis,
) -> None:
    for group in ("g2", "g1"):
        await client.xadd("work", {"m": b"", "g": group})
    begun: list[str] = []

    async def handle(entry: Entry) -> None:
        begun.append(entry.group)
        await WorkStream(client, "work", "one").finish(entry)

    async with working(client, handle=handle):
        async with asyncio.timeout(WAIT_S):
            while len(begun) < 2:
                await asyncio.sleep(0.01)
    assert begun == ["g1", "g2"]
