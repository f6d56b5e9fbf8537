"""A node's answers name the policy versions that they may be by."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from services.rollout.node import Node
from services.rollout.versions import NamesVersions
from shared.wire.messages import PolicyVersion
from shared.wire.registry import VERSIONS_HEADER


@pytest.fixture
def node() -> Node:
    return Node("rollout-0", "http://h")


@pytest.fixture
def client(node: Node) -> TestClient:
    app = FastAPI()
    app.add_middleware(NamesVersions, node=node)

    @app.post("/v1/chat/completions")
    def answer(loads: int | None = None) -> str:
        if loads is not None:
            node.loaded(PolicyVersion(incarnation=2, step=loads), 0.1)
        return "B"

    @app.get("/readyz")
    def ready() -> str:
        return "ready"

    return TestClient(app)


def test_an_answer_names_the_version_at_its_start_and_at_its_end(node, client) -> None:
    url = "/v1/chat/completions"
    assert VERSIONS_HEADER not in client.post(url).headers
    node.loaded(PolicyVersion(incarnation=2, step=3), 0.1)
    assert client.post(url).headers[VERSIONS_HEADER] == "2.3 2.3"
    assert client.post(url, params={"loads": 4}).headers[VERSIONS_HEADER] == "2.3 2.4"
    assert VERSIONS_HEADER not in client.get("/readyz").headers
