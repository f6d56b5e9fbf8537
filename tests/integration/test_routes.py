"""What a stranger meets at each service: the token on every route but health, and the limits."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from shared.auth import bearer
from shared.rate_limit import RateLimit
from tests.served import reward, rollout, trainer

pytestmark = pytest.mark.anyio

TOKEN = "s3cret"
HEALTH = {"/healthz", "/readyz"}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


@pytest.fixture(params=["reward", "trainer", "rollout"])
async def app(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str
) -> AsyncIterator[FastAPI]:
    """One service's application."""
    opened = {
        "reward": reward(TOKEN),
        "trainer": trainer(TOKEN, tmp_path, redis_url),
        "rollout": rollout(TOKEN, tmp_path),
    }[request.param]
    async with opened() as app:
        yield app


def client(app: FastAPI, token: str | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service", headers=bearer(token)
    )


async def test_every_route_but_health_wants_the_token(app: FastAPI) -> None:
    described = set(app.openapi()["paths"])
    routed = {getattr(route, "path", "") for route in app.routes} - {""}
    asked = set()
    async with client(app) as http:
        for path in described | routed | {"/metrics", "/openapi.json", "/docs", "/redoc"}:
            filled = path.replace("{version}", "1.0").replace("{action}", "stop")
            codes = {(await http.request(method, filled)).status_code for method in METHODS}
            if path in HEALTH:
                assert codes & {200, 503}, path
            else:
                # 405 and 404: there is no such route. Any other would be one that let us in.
                assert codes <= {401, 404, 405}, (path, codes)
                asked |= {path} if 401 in codes else set()
    assert described - HEALTH | {"/metrics", "/openapi.json"} == asked


async def test_a_large_body_is_refused_before_it_is_read(app: FastAPI) -> None:
    posts = [path for path, methods in app.openapi()["paths"].items() if "post" in methods]
    async with client(app, TOKEN) as http:
        for path in posts:
            filled = path.replace("{action}", "pause")
            answer = await http.post(filled, content=b" " * (2 << 20))
            assert answer.status_code == 413, path
            assert "larger than" in answer.json()["detail"]
    assert posts


async def test_a_client_that_asks_too_often_is_refused(app: FastAPI) -> None:
    app.add_middleware(RateLimit, per_s=1.0, clock=lambda: 0.0)
    async with client(app) as http:
        codes = [(await http.get("/metrics")).status_code for _ in range(3)]
        assert (await http.get("/healthz")).status_code == 200
    assert codes == [401, 429, 429]
