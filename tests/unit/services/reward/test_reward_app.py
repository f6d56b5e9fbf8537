"""The routes of the reward service, in process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.reward.app import create_app
from services.reward.metrics import Metrics
from services.reward.scoring import Scorer
from shared.config import RewardConfig
from shared.config.connections import SecurityConfig
from shared.service.auth import bearer


class Node:
    """What the routes are made from; `takes_work` is what /readyz reports."""

    def __init__(self) -> None:
        self.config = RewardConfig(max_request_mib=1, task_timeout_s=0.2)
        self.metrics = Metrics()
        self.takes_work = True

    async def equal(self, pairs: list[tuple[str, str]]) -> bool:
        """A grader that is busy for ever."""
        await asyncio.Event().wait()
        return False


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
async def client(node: Node) -> AsyncIterator[httpx.AsyncClient]:
    scorer = Scorer(node.config, node)
    security = SecurityConfig(token="s3cret")
    app = create_app(node.config, security, scorer, node.metrics, lambda: node.takes_work)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://reward", headers=bearer("s3cret")
    ) as client:
        yield client


def item(response: str = r"<think></think>\boxed{(B)}", **changes: Any) -> dict[str, Any]:
    return {"response": response, "answer": "B", "kind": "letter"} | changes


async def test_score(client: httpx.AsyncClient) -> None:
    answer = await client.post("/score", json=[item(), item("no"), item(r"\boxed{A}")])
    assert answer.status_code == 200
    common = {"penalty": 0.0, "steps": None}
    assert answer.json() == [
        common | {"accuracy": 1.0, "format": 1.0, "reward": 1.0, "extracted": "(B)"},
        common | {"accuracy": 0.0, "format": 0.0, "reward": 0.0, "extracted": None},
        common | {"accuracy": 0.0, "format": 0.0, "reward": 0.0, "extracted": "A"},
    ]


async def test_nothing_to_score(client: httpx.AsyncClient) -> None:
    answer = await client.post("/score", json=[])
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ([{"response": "x", "answer": "B"}], "0.kind: is missing"),
        ([item(kind="essay")], "0.kind: must be 'letter', "),
        ([item(extra=1)], "0.extra: is unknown"),
        ([item(), item(answer="cat")], "item 1, field 'answer': the gold answer 'cat'"),
        ({"response": "x"}, "the body: must be a list"),
    ],
)
async def test_a_bad_request_is_named(client: httpx.AsyncClient, body: Any, part: str) -> None:
    answer = await client.post("/score", json=body)
    assert answer.status_code == 422
    assert part in answer.json()["detail"]


async def test_a_wrong_token_is_refused(client: httpx.AsyncClient) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}, bearer("")):
        answer = await client.post("/score", json=[item()], headers=headers)
        assert answer.status_code == 401
        assert "wrong or missing token" in answer.json()["detail"]
        assert (await client.get("/metrics", headers=headers)).status_code == 401
        assert (await client.get("/healthz", headers=headers)).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_request_is_refused(client: httpx.AsyncClient, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 2**16

    content = chunks() if chunked else b" " * (17 * 2**16)
    answer = await client.post("/score", content=content)
    assert answer.status_code == 413
    assert "reward.max_request_mib" in answer.json()["detail"]


async def test_scoring_that_takes_too_long_is_given_up(client: httpx.AsyncClient) -> None:
    answer = await client.post("/score", json=[item(r"\boxed{x}", answer="1", kind="math")])
    assert answer.status_code == 504
    assert "reward.task_timeout_s (0.2 s)" in answer.json()["detail"]


async def test_health_and_readiness(client: httpx.AsyncClient, node: Node) -> None:
    assert (await client.get("/readyz")).status_code == 200
    node.takes_work = False
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_metrics(client: httpx.AsyncClient, node: Node) -> None:
    node.metrics.dropped.labels("uniform_reward").inc()
    text = (await client.get("/metrics")).text
    assert 'perl_reward_groups_dropped_total{reason="uniform_reward"} 1.0' in text


@pytest.mark.parametrize(
    "body",
    [
        rb'[{"response": "\ud83d", "answer": "3", "kind": "number"}]',
        rb'[{"response": "x", "answer": "3\udc00", "kind": "text"}]',
        rb'[{"response": "x", "answer": "3", "kind": "\ud83d"}]',
        b'[{"response": "x", "answer": %s, "kind": "number"}]' % (b"9" * 5000),
        b"[{]",
        b"[" * 100_000,
        b'[{"response": "\xff"}]',
    ],
)
async def test_a_body_that_is_no_json_is_refused_in_one_line(
    client: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/score", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("the body is not ")
