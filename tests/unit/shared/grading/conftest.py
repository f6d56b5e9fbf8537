"""One pool of real grader processes for a file of tests."""

from collections.abc import AsyncIterator

import pytest

from shared.config import RewardConfig
from shared.grading.pool import GraderPool


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[GraderPool]:
    async with GraderPool(RewardConfig(workers=1, grade_timeout_s=20)) as pool:
        yield pool
