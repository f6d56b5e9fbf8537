"""What a stranger meets at each service: the token on every route but health, and the limits."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from shared.config.connections import SecurityConfig
from shared.service.auth import bearer
from tests.served import reward, rollout, trainer, trainer_host

pytestmark = pytest.mark.anyio

TOKEN = "s3cret"
HEALTH = {"/healthz", "/readyz"}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


Open = Callable[..., AbstractAsyncContextManager[FastAPI]]


@pytest.fixture(params=["reward", "trainer", "trainer_host", "rollout"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Open:
    """Opens one service's application, as `create_app` makes it, with these security settings."""

    def open_app(**settings: object) -> AbstractAsyncContextManager[FastAPI]:
        security = SecurityConfig.model_validate({"token": TOKEN, **settings})
        services = {
            "reward": lambda: reward(security),
            "trainer": lambda: trainer(security, tmp_path, redis_url),
            "trainer_host": lambda: trainer_host(security, tmp_path, redis_url),
            "rollout": lambda: rollout(security, tmp_path),
        }
        return services[request.param]()()

    return open_app


@pytest.fixture
async def app(opened: Open) -> AsyncIterator[FastAPI]:
    """One service's application."""
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
        # A service that takes no body refuses it as well, wherever it is sent.
        for path in posts or ["/metrics"]:
            filled = path.replace("{action}", "pause")
            answer = await http.post(filled, content=b" " * (2 << 20))
            assert answer.status_code == 413, path
            assert re.fullmatch(
                r"the request is larger than (reward\.max_request_mib|rollout\.max_request_mib|"
                r"the trainer) allows; send it in parts",
                answer.json()["detail"],
            )


@pytest.mark.parametrize("service", ["reward", "rollout"])
async def test_a_body_of_untold_length_is_refused_while_it_is_read(
    service: str, tmp_path: Path
) -> None:
    security, sent = SecurityConfig(token=TOKEN), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 2**16

    opened, path = {
        "reward": (reward(security), "/score"),
        "rollout": (rollout(security, tmp_path), "/v1/chat/completions"),
    }[service]
    async with opened() as app, client(app, TOKEN) as http:
        refused = await http.post(
            path, content=endless(), headers={"Content-Type": "application/json"}
        )
    assert refused.status_code == 413
    assert f"the request is larger than {service}.max_request_mib allows" in refused.text
    assert sent <= 18, "a MiB is the limit, in pieces of 64 KiB"


async def test_a_node_that_does_not_sample_yet_says_what_to_wait_for(tmp_path: Path) -> None:
    async with rollout(SecurityConfig(token=TOKEN), tmp_path)() as app, client(app, TOKEN) as http:
        refused = await http.get("/v1/models")
    assert refused.status_code == 503
    assert "the node is starting; wait until /readyz answers 200" in refused.text


async def test_a_client_that_asks_too_often_is_refused(opened: Open) -> None:
    # So few that the second request is one too many, however slow this machine is.
    async with opened(max_requests_per_s=0.001) as app, client(app, TOKEN) as http:
        assert (await http.get("/openapi.json")).status_code == 200
        refused = await http.get("/openapi.json")
        healthy = [(await http.get("/healthz")).status_code for _ in range(3)]
    assert refused.status_code == 429
    assert refused.json()["detail"] == (
        "more than 0.001 requests a second (security.max_requests_per_s); send fewer"
    )
    assert healthy == [200, 200, 200]
