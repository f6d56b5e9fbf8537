"""Several servers of one model behind one endpoint."""

import contextlib

import pytest

from perl_rl.data.difficulty import policy_version
from shared.chat import ChatEndpoint, EndpointFailed
from shared.config.endpoint import EndpointConfig
from tests.scripted_endpoint import ScriptedEndpoint

QUESTIONS = 40


@pytest.fixture
def servers():
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(ScriptedEndpoint(lambda body: "yes").serving()) for _ in range(3)
        ]


def config(servers: list[ScriptedEndpoint]) -> EndpointConfig:
    return EndpointConfig(url=" ".join(one.url for one in servers), model="m", retries=0)


async def test_each_gets_a_share_and_equal_questions_go_to_the_same(
    servers: list[ScriptedEndpoint],
) -> None:
    async with ChatEndpoint(config(servers)) as endpoint:
        for seed in range(2):
            for number in range(QUESTIONS):
                asked = [{"role": "user", "content": f"question {number}"}]
                assert await endpoint.ask(asked, max_tokens=1, seed=seed) == "yes"
    seen = [sorted(one["messages"][0]["content"] for one in each.requests) for each in servers]
    assert all(len(each) >= QUESTIONS // 5 for each in seen), "no server has nothing to do"
    assert all(each[::2] == each[1::2] for each in seen), "both seeds of a question, and no other"
    assert len({one for each in seen for one in each}) == QUESTIONS


async def test_an_error_names_the_server_that_failed(servers: list[ScriptedEndpoint]) -> None:
    failing = servers[1]
    failing.script = lambda body: 500
    async with ChatEndpoint(config(servers)) as endpoint:
        with pytest.raises(EndpointFailed) as caught:
            for number in range(QUESTIONS):
                await endpoint.ask([{"role": "user", "content": f"{number}"}], max_tokens=1)
    assert str(caught.value).startswith(f"endpoint {failing.url}, model m: answered 500")


async def test_servers_of_different_policy_versions_are_refused(
    servers: list[ScriptedEndpoint],
) -> None:
    for version, server in zip(("1.3", "1.3", "1.4"), servers, strict=True):
        server.app.get("/readyz")(lambda version=version: {"version": version})
    assert await policy_version(config(servers[:2])) == "1.3"
    with pytest.raises(EndpointFailed, match=r"different policy versions \(1\.3, 1\.4\)"):
        await policy_version(config(servers))


def test_an_address_must_be_given() -> None:
    with pytest.raises(ValueError, match="url"):
        EndpointConfig(url=" ", model="m")
