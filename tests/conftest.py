"""Fixtures for every test: a real Redis server for the session, emptied before each test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from perl_rl.launch.embedded_redis import embedded_redis

# PyTorch's threads spin while they wait: test processes side by side get one each. Set before any
# import of torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the services do."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that lives as long as the test session."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with embedded_redis(folder) as server:
        yield server.url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of an empty server."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server
