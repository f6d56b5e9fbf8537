"""Rollout nodes as the model that is evaluated: real HTTP and Redis, scripted answers."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from perl_rl.eval.models import Decoding, Prompt
from perl_rl.eval.nodes import NoNode, RolloutNodes
from shared.config import Config
from shared.errors import UserError
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion
from shared.wire.registry import NodeInfo, Registry
from tests.scripted_endpoint import Script, ScriptedEndpoint, text_of

DECODING = Decoding("Answer.", max_tokens=5)
AT_START = PolicyVersion(incarnation=1, step=0)


@pytest.fixture
def nodes() -> Iterator["Nodes"]:
    with ExitStack() as stack:
        yield Nodes(stack)


class Nodes:
    """Scripted nodes that register as real ones do."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.infos: list[NodeInfo] = []

    def add(self, script: Script, **changes: object) -> ScriptedEndpoint:
        endpoint = self._stack.enter_context(ScriptedEndpoint(script).serving())
        name = f"rollout-{len(self.infos)}"
        fields = {"name": name, "kind": "rollout", "state": "ready", "version": "1.0"}
        url = endpoint.url.removesuffix("/v1")
        self.infos.append(NodeInfo.model_validate(fields | {"url": url} | changes))
        return endpoint


@pytest.fixture
def prompts(tmp_path: Path) -> list[Prompt]:
    picture = tmp_path / "a.png"
    Image.new("RGB", (28, 28)).save(picture)
    return [Prompt(f"q{i}", f"<image> {i}?", (str(picture),), seed=0) for i in range(20)]


def config(url: str, **rollout: object) -> Config:
    engine = {"max_num_seqs": 2}
    return Config.model_validate(
        {
            "run": "r",
            "redis": {"url": url},
            "security": {"token": "secret"},
            "model": {"path": "m"},
            "data": {"train": "t"},
            "rollout": {"lost_after_s": 30.0, "engine": engine, **rollout},
            "trainer": {},
        }
    )


async def ask(
    settings: Config, nodes: Nodes, prompts: list[Prompt], patience_s: float = 30.0
) -> list[str]:
    assert settings.redis.url is not None
    client = await connect(settings.redis.url, 5.0)
    registry = Registry(client, Keys("r"))
    for info in nodes.infos:
        await registry.heartbeat(info, 30.0)
    wanted = lambda version: version == AT_START  # noqa: E731
    try:
        async with RolloutNodes(
            registry, settings, DECODING, wanted, patience_s, patience_s
        ) as model:
            return list(await asyncio.gather(*map(model.ask, prompts)))
    finally:
        await client.aclose()


def echo(body: dict) -> str:
    return text_of(body).split("?")[0].strip()


def test_all_ready_nodes_are_asked_and_none_more_than_keeps_it_busy(
    redis_url, nodes, prompts, monkeypatch
):
    # Services talk to each other directly.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    asked = [nodes.add(echo), nodes.add(echo)]
    assert asyncio.run(ask(config(redis_url), nodes, prompts)) == [str(i) for i in range(20)]
    requests = [one for node in asked for one in node.requests]
    assert len(requests) == 20 and all(node.requests for node in asked)
    assert all(node.most_in_work <= 3 for node in asked)
    assert {key for node in asked for key in node.keys} == {"Bearer secret"}
    assert {(one["model"], one["temperature"], one["max_tokens"]) for one in requests} == {
        ("r", 0.0, 5)
    }
    assert all(one["messages"][0]["content"][-1]["text"] == "\nAnswer." for one in requests)


@pytest.mark.parametrize(
    "other",
    [
        {"version": "1.1"},
        {"version": None, "state": "starting"},
        {"state": "draining"},
        {"state": "outdated"},
        {"kind": "reward"},
    ],
)
def test_a_node_without_the_wanted_weights_is_never_asked(redis_url, nodes, prompts, other):
    right, wrong = nodes.add(echo), nodes.add(echo, **other)
    asyncio.run(ask(config(redis_url), nodes, prompts))
    assert (len(right.requests), len(wrong.requests)) == (20, 0)


def test_what_a_lost_node_did_not_answer_another_one_does(redis_url, nodes, prompts):
    nodes.add(echo)
    lost = nodes.add(lambda body: 503)
    assert asyncio.run(ask(config(redis_url), nodes, prompts)) == [str(i) for i in range(20)]
    assert 1 <= len(lost.requests) <= 3 * 3, "it is left alone once it has failed"


def test_a_question_that_the_engine_refuses_is_named(redis_url, nodes, prompts):
    nodes.add(lambda body: 400 if "7?" in text_of(body) else echo(body))
    with pytest.raises(
        UserError, match=r"^data\.heldout: question q7: the engine refuses it .*400"
    ):
        asyncio.run(ask(config(redis_url), nodes, prompts))


def test_a_question_that_no_node_answers_is_given_up(redis_url, nodes, prompts):
    nodes.add(lambda body: 500)
    settings = config(redis_url, heartbeat_s=0.005, lost_after_s=0.01, max_attempts=2)
    with pytest.raises(UserError, match=r"question q0: 2 rollout nodes have failed to answer it"):
        asyncio.run(ask(settings, nodes, prompts[:1]))


def test_without_a_node_the_wait_ends(redis_url, nodes, prompts):
    with pytest.raises(NoNode, match="no rollout node"):
        asyncio.run(ask(config(redis_url), nodes, prompts, patience_s=0.1))
    nodes.add(echo, version="1.1")
    with pytest.raises(NoNode, match="no rollout node had the weights to evaluate for"):
        asyncio.run(ask(config(redis_url), nodes, prompts, patience_s=0.1))
