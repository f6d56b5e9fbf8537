"""Safe by default: what strangers may do, and what secrets never reach."""

import asyncio
import logging
import socket
import stat
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse

from services.reward.app import create_app
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.chat import ChatEndpoint, EndpointFailed
from shared.config import Config, RewardConfig, load_config, save_config
from shared.config.connections import SecurityConfig
from shared.config.endpoint import EndpointConfig
from shared.config.load import secrets_file
from shared.config.secrets import secret_words
from shared.errors import UserError
from shared.grading.pool import GraderPool
from shared.logs import HidingFormatter
from shared.service.connection import connect
from shared.service.limits import RateLimit
from shared.service.serve import Listening, announced_url, serve_service, warn_if_open
from tests.scripted_endpoint import ScriptedEndpoint
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
        (f"redis://127.0.0.1:1/0?password={SECRET}", None, "cannot reach Redis"),
    ],
)
def test_a_redis_that_cannot_be_used_is_named_without_its_password(url, ca_file, message):
    with pytest.raises(UserError) as caught:
        asyncio.run(connect(url, 2.0, ca_file=ca_file))
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


KEY = "sk-judge-key"
ADDRESS = f"redis://user:{SECRET}%21@127.0.0.1:1/0"


def secretive(folder: Path) -> Config:
    """A configuration with a token, a password and a key."""
    judge = {"endpoint": {"url": "http://judge/v1", "model": "j", "api_key": KEY}}
    return Config.model_validate(
        demo_config(folder, ADDRESS)
        | {"security": {"token": f"{SECRET}-token"}, "reward": {"judge": judge}}
    )


def test_a_written_configuration_can_be_shown_and_its_secrets_lie_beside_it(tmp_path):
    config, file = secretive(tmp_path), tmp_path / "run" / "config.yaml"
    file.parent.mkdir()
    save_config(config, file)

    for text in (repr(config), str(config), file.read_text()):
        assert SECRET not in text and KEY not in text
    assert "redis://user:${PERL_SECRET_REDIS_URL}@127.0.0.1:1/0" in file.read_text()
    assert load_config(file) == config
    assert [stat.S_IMODE(one.stat().st_mode) for one in file.parent.iterdir()] == [0o600, 0o600]

    secrets_file(file).unlink()
    with pytest.raises(UserError, match=r"config\.yaml: the environment variable PERL_SECRET_"):
        load_config(file)
    secrets_file(file).write_text("nonsense")
    with pytest.raises(UserError, match=r"config\.secrets: cannot read the secrets of"):
        load_config(file)


def test_a_log_shows_no_secret_even_when_an_error_does(tmp_path):
    words = secret_words(secretive(tmp_path))
    assert words == {f"{SECRET}%21", f"{SECRET}!", f"{SECRET}-token", KEY}
    try:
        raise RuntimeError(f"cannot use {ADDRESS}")
    except RuntimeError:
        record = logging.LogRecord("x", 40, "f", 1, "key %s", (KEY,), sys.exc_info())
    said = HidingFormatter("%(message)s", words).format(record)
    assert SECRET not in said and KEY not in said
    assert "key ***\n" in said and "cannot use redis://user:***@127.0.0.1:1/0" in said


async def test_an_endpoint_that_repeats_its_key_is_not_quoted_whole():
    def script(body):
        return JSONResponse({"error": {"message": f"no such key: {KEY}"}}, status_code=401)

    with ScriptedEndpoint(script).serving() as endpoint:
        settings = EndpointConfig(url=endpoint.url, model="j", api_key=KEY, retries=0)
        async with ChatEndpoint(settings) as chat:
            with pytest.raises(EndpointFailed) as caught:
                await chat.ask([{"role": "user", "content": "?"}], max_tokens=1)
    assert "answered 401" in str(caught.value) and "no such key: ***" in str(caught.value)


def test_services_listen_on_loopback_unless_told_otherwise(tmp_path):
    config = Config.model_validate(demo_config(tmp_path, ADDRESS))
    hosts = {service: getattr(config, service).host for service in ("rollout", "reward", "trainer")}
    assert hosts == dict.fromkeys(hosts, "127.0.0.1")


def test_an_open_address_without_a_token_is_warned_about(caplog):
    warn_if_open("reward", "127.0.0.1", None)
    warn_if_open("reward", "0.0.0.0", SECRET)
    assert caplog.text == ""
    warn_if_open("reward", "0.0.0.0", None)
    assert "reward listens on 0.0.0.0 without a token" in caplog.text


LOCAL_REDIS = "redis://127.0.0.1:6379/0"


def test_a_service_announces_the_address_it_listens_on():
    assert announced_url("127.0.0.1", 8100, LOCAL_REDIS) == "http://127.0.0.1:8100"
    assert announced_url("::1", 8100, LOCAL_REDIS) == "http://[::1]:8100"


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
@pytest.mark.parametrize("redis_at", [LOCAL_REDIS, "unix:///run/redis.sock", "redis://no.invalid"])
def test_without_a_redis_elsewhere_the_machine_s_name_is_announced(everywhere: str, redis_at: str):
    assert announced_url(everywhere, 8100, redis_at) == f"http://{socket.gethostname()}:8100"


@pytest.mark.parametrize("service", ["rollout", "reward", "trainer"])
def test_every_service_on_all_addresses_announces_one_that_others_reach(service: str, redis_url):
    """Through this machine's own address, as from another one."""
    addresses = [
        one.address
        for several in psutil.net_if_addrs().values()
        for one in several
        if one.family == socket.AF_INET and not one.address.startswith("127.")
    ]
    port = urlsplit(redis_url).port
    content = demo_config(Path("/"), redis_url) | {service: {"host": "0.0.0.0", "port": 0}}
    announced = []

    async def body(listening: Listening) -> None:
        announced.append(listening.url)

    serve_service(service, Config.model_validate(content), 0, body)
    assert "0.0.0.0" not in announced[0] and announced[0].startswith("http://")
    for own in addresses[:1]:
        assert announced_url("0.0.0.0", 8100, f"redis://{own}:{port}") == f"http://{own}:8100"
