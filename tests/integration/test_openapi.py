"""Requests made from each service's OpenAPI document: no 5xx that it does not name, and no hang."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema

from perl_rl.embedded_redis import embedded_redis
from shared.auth import bearer
from shared.config.connections import SecurityConfig
from tests.served import reward, rollout, served, trainer

TOKEN = "s3cret"
SECURITY = SecurityConfig(token=TOKEN, max_requests_per_s=1e6)
PATIENCE_S = 20.0
"""For one answer; a client that waits longer fails the test."""

EXAMPLES = 15
"""For each operation and mode."""


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


def document(address: str) -> BaseSchema:
    """The service's description, as a stranger with the token reads it."""
    return schemathesis.openapi.from_url(f"{address}/openapi.json", headers=bearer(TOKEN))


def answers(operation: APIOperation, mode: GenerationMode) -> set[int]:
    """The status codes that one operation answered; fails at one it may not give."""
    seen: set[int] = set()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(headers=bearer(TOKEN), timeout=PATIENCE_S)
        named = operation.definition.raw["responses"]
        assert answer.status_code < 500 or str(answer.status_code) in named, answer.content
        seen.add(answer.status_code)

    ask()
    return seen


def test_no_request_brings_down_a_service(address: str) -> None:
    operations = [found.ok() for found in document(address).get_all_operations()]
    wrong = 0
    for operation in operations:
        answers(operation, GenerationMode.POSITIVE)
        # A request without parameters cannot be a wrong one.
        if operation.body or operation.path_parameters:
            wrong += len(answers(operation, GenerationMode.NEGATIVE))
    assert len(operations) >= 3 and wrong
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
