"""Requests made from each service's OpenAPI document: no 5xx that it does not name, and no hang."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from schemathesis.generation import GenerationMode

from perl_rl.launch.embedded_redis import embedded_redis
from shared.config.connections import SecurityConfig
from shared.service.auth import bearer
from tests.openapi_cases import PATIENCE_S, answers, operations
from tests.served import reward, rollout, served, trainer

TOKEN = "s3cret"
SECURITY = SecurityConfig(token=TOKEN, max_requests_per_s=1e6)


@pytest.fixture(params=["reward", "trainer", "rollout"])
def address(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[str]:
    """One service's address."""
    opened = {
        "reward": reward(SECURITY),
        "trainer": trainer(SECURITY, tmp_path, redis_url),
        "rollout": rollout(SECURITY, tmp_path),
    }[request.param]
    with served(opened) as url:
        yield url


def test_no_request_brings_down_a_service(address: str) -> None:
    found, wrong = operations(address, TOKEN), 0
    for operation in found:
        answers(operation, GenerationMode.POSITIVE, TOKEN)
        # A request without parameters cannot be a wrong one.
        if operation.body or operation.path_parameters:
            wrong += len(answers(operation, GenerationMode.NEGATIVE, TOKEN))
    assert len(found) >= 3 and wrong
    assert httpx.get(f"{address}/healthz", timeout=PATIENCE_S).status_code == 200


def test_without_redis_the_trainer_answers_503_and_one_line(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as server:
        url = server.url
    with (
        served(trainer(SECURITY, tmp_path, url)) as address,
        httpx.Client(base_url=address, headers=bearer(TOKEN), timeout=PATIENCE_S) as http,
    ):
        for method, path in (
            ("GET", "/readyz"),
            ("GET", "/status"),
            ("GET", "/metrics"),
            ("POST", "/control/pause"),
        ):
            answer = http.request(method, path)
            assert answer.status_code == 503, path
            assert answer.json() == {"detail": "Redis does not answer; ask again when it is back"}
        assert http.get("/healthz").status_code == 200
