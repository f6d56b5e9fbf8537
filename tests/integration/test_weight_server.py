"""The weight server's process: its routes, its limits, and that it is there again when it died."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest
import torch
import yaml

from services.trainer.control.weight_server import keep_serving
from services.trainer.rank.publishers.spool import WeightSpool
from shared.config import load_config
from shared.service.auth import bearer
from shared.service.serve import bind
from shared.weights.manifest import Manifest, verify
from shared.wire.messages import PolicyVersion
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

TOKEN = "s3cret"
PATIENCE_S = 60.0


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """The running server's address; there is one version, 1.4."""
    content = demo_config(tmp_path, "redis://unused")
    content["security"] = {"token": TOKEN, "max_requests_per_s": 50}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    load_config(file)
    spool = WeightSpool(tmp_path / "weights", bucket_bytes=64, keep=2)
    version = PolicyVersion(incarnation=1, step=4)
    spool.write(version, [("a", torch.arange(40, dtype=torch.float32))])
    with bind("trainer", "127.0.0.1", 0) as listener:
        serving = asyncio.create_task(keep_serving(listener, file, tmp_path / "weights"))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    assert _servers() == []


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        headers=bearer(TOKEN), timeout=aiohttp.ClientTimeout(PATIENCE_S)
    ) as session:
        yield session


def _servers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if _is_server(one)]


def _is_server(process: psutil.Process) -> bool:
    """False for one that has ended meanwhile, too."""
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    return "services.trainer.weights.main" in words and "--parent" not in words


async def test_a_version_is_served_by_ranges(url: str, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{url}/weights/1.4/manifest") as answer:
        manifest = Manifest.model_validate_json(await answer.read())
    assert len(manifest.buckets) > 3
    for bucket in manifest.buckets:
        last = bucket.offset + bucket.nbytes - 1
        wanted = {"Range": f"bytes={bucket.offset}-{last}"}
        async with http.get(f"{url}/weights/1.4/data", headers=wanted) as part:
            assert part.status == 206
            verify(bucket, await part.read(), manifest.version)


async def test_what_is_not_there_is_named(url: str, http: aiohttp.ClientSession) -> None:
    for part in ("manifest", "data", "delta"):
        async with http.get(f"{url}/weights/9.9/{part}") as answer:
            said = (await answer.json())["detail"]
            assert (answer.status, said) == (
                404,
                "version 9.9 is no longer kept; ask for a newer one",
            )
    for path in ("weights/../config.yaml", "weights/1.4%2f..%2f../data", "weights/latest/data"):
        async with http.get(f"{url}/{path}") as answer:
            assert answer.status == 404


async def test_all_but_health_wants_the_token_and_not_too_often(
    url: str, http: aiohttp.ClientSession
) -> None:
    nobody = {"Authorization": "Bearer wrong"}
    async with http.get(f"{url}/healthz", headers=nobody) as answer:
        assert answer.status == 200
    for part in ("manifest", "data", "delta"):
        async with http.get(f"{url}/weights/1.4/{part}", headers=nobody) as answer:
            assert answer.status == 401
            assert "wrong or missing token" in (await answer.json())["detail"]
    statuses = []
    for _ in range(80):
        async with http.get(f"{url}/weights/1.4/manifest") as answer:
            statuses.append(answer.status)
    assert statuses[0] == 200 and statuses[-1] == 429


async def test_it_comes_back_on_the_same_address_when_it_was_killed(
    url: str, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"{url}/healthz") as answer:
        assert answer.status == 200
    [server] = _servers()
    server.kill()
    await asyncio.to_thread(server.wait, PATIENCE_S)
    # The connection waits in the listener's queue until the next server takes it.
    async with http.get(f"{url}/weights/1.4/manifest") as answer:
        assert answer.status == 200
