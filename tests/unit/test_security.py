"""Safe by default: what strangers may do, and what secrets never reach."""

import asyncio
import stat

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.reward.app import create_app
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from services.reward.workers import GraderPool
from shared.config import Config, RewardConfig, load_config, save_config
from shared.config.connections import SecurityConfig
from shared.connection import connect
from shared.errors import UserError
from shared.rate_limit import RateLimit
from shared.service import warn_if_open
from tests.scripted_sampler import demo_config

SECRET = "hunter2hunter2"


def client(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@pytest.mark.anyio
async def test_every_route_of_the_reward_service_but_health_wants_the_token():
    config = RewardConfig()
    async with GraderPool(config) as pool:
        app = create_app(
            config, SecurityConfig(token=SECRET), Scorer(config, pool), Metrics(), lambda: True
        )
        routes = [route for route in app.routes if isinstance(route, APIRoute)]
        async with client(app) as http:
            for route in routes:
                for method in route.methods:
                    answer = await http.request(method, route.path)
                    assert (answer.status_code == 401) == (route.path not in HEALTH), route.path
    assert len(routes) >= 4


HEALTH = ("/healthz", "/readyz")


@pytest.mark.anyio
async def test_a_client_that_asks_too_often_is_told_so_and_health_is_not_counted():
    now = [0.0]
    app = FastAPI()

    @app.get("/status")
    @app.get("/healthz")
    async def answer() -> str:
        return "ok"

    app.add_middleware(RateLimit, per_s=2.0, clock=lambda: now[0])
    async with client(app) as http:
        codes = [(await http.get("/status")).status_code for _ in range(3)]
        refused = await http.get("/status")
        assert (await http.get("/healthz")).status_code == 200
        now[0] = 0.5
        codes += [(await http.get("/status")).status_code for _ in range(2)]
    assert codes == [200, 200, 429, 200, 429]
    assert "security.max_requests_per_s" in refused.json()["detail"]
    assert refused.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("url", "ca_file", "message"),
    [
        ("rediss://127.0.0.1:1", "/gone.pem", "redis.ca_file /gone.pem: there is no such file"),
        ("redis://127.0.0.1:1", "/gone.pem", "begins with rediss:// in redis.url"),
        (f"redis://user:{SECRET}@127.0.0.1:1", None, "cannot reach Redis"),
    ],
)
def test_a_redis_that_cannot_be_used_is_named_without_its_password(url, ca_file, message):
    with pytest.raises(UserError) as caught:
        asyncio.run(connect(url, 2.0, ca_file=ca_file))
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_secrets_are_in_no_representation_and_their_file_is_the_owners(tmp_path):
    settings = demo_config(tmp_path, f"redis://:{SECRET}@127.0.0.1:1/0")
    config = Config.model_validate(settings | {"security": {"token": SECRET}})
    file = tmp_path / "config.yaml"
    save_config(config, file)

    assert SECRET not in repr(config) and SECRET not in str(config)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_config(file).security.token == SECRET


def test_an_open_address_without_a_token_is_warned_about(caplog):
    warn_if_open("reward", "127.0.0.1", None)
    warn_if_open("reward", "0.0.0.0", SECRET)
    assert caplog.text == ""
    warn_if_open("reward", "0.0.0.0", None)
    assert "reward listens on 0.0.0.0 without a token" in caplog.text
