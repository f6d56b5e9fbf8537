"""For every test: a real Redis server, emptied before each test; and a check of the slow ones."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings

from perl_rl.launch.embedded_redis import embedded_redis
from shared.logs import HidingFormatter

# PyTorch's threads spin while they wait: test processes side by side get one each. Set before any
# import of torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no failure: what must be fast is measured in bench/.
settings.register_profile("repository", deadline=None)
settings.load_profile("repository")

# `slow` marks a unit test that takes more than about 1.5 s alone; `make test-fast` leaves it out.
# One without the mark is named when it takes much longer: other tests run at the same time.
TOO_LONG_S = 4.0

_unmarked: defaultdict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up how long each unit test without the mark takes."""
    if report.nodeid.startswith("tests/unit/") and "slow" not in report.keywords:
        _unmarked[report.nodeid] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the unit tests that lack the mark `slow`."""
    found = {test: seconds for test, seconds in _unmarked.items() if seconds > TOO_LONG_S}
    if found:
        terminalreporter.section(f"over {TOO_LONG_S:g} s: mark as slow, or make faster")
        for test, seconds in sorted(found.items(), key=lambda one: -one[1]):
            terminalreporter.line(f"{seconds:6.1f} s {test}")


@pytest.fixture(autouse=True)
def no_log_of_another_test() -> Iterator[None]:
    """Take away what a command that ran in a test has set up: its standard error is closed now."""
    yield
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler.formatter, HidingFormatter):
            root.removeHandler(handler)


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
