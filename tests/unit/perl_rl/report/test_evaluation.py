"""An evaluation on a run's nodes: when it asks, what it holds meanwhile, and what it keeps.

Real Redis and HTTP; the node's answers and the trainer's versions are scripted.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from perl_rl.demo.digits import write_data
from perl_rl.report import evaluation as report_evaluation
from perl_rl.report.evaluation import Evaluation
from shared.config import Config
from shared.errors import UserError
from shared.service.connection import connect
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion
from shared.wire.registry import NodeInfo, Registry
from shared.wire.runstate import RunState
from tests.scripted_endpoint import Body, ScriptedEndpoint
from tests.unit.perl_rl.report.test_pace import Shown
from tests.waiting import wait_until

KEYS = Keys("r")
STEPS = 4


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, seed=1, train=3, held_out=6)
    return folder / "heldout.jsonl"


@pytest.fixture
def config(heldout: Path, redis_url: str) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "redis": {"url": redis_url},
            "model": {"path": "m"},
            "data": {"train": "t", "heldout": heldout},
            "trainer": {"steps": STEPS},
            "rollout": {"heartbeat_s": 0.1, "lost_after_s": 0.2},
            "eval": {"orders": 2},
        }
    )


class Node:
    """A scripted node; `meanwhile` is called with each request."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None
        self.endpoint = ScriptedEndpoint(self._answer)

    def _answer(self, body: Body) -> str:
        self.meanwhile()
        return "\\boxed{B}"


@pytest.fixture
def node() -> Iterator[Node]:
    found = Node()
    with found.endpoint.serving():
        yield found


async def register(client: redis.asyncio.Redis, node: Node, version: str) -> None:
    url = node.endpoint.url.removesuffix("/v1")
    info = NodeInfo(name="rollout-0", kind="rollout", url=url, state="ready", version=version)
    await Registry(client, KEYS).heartbeat(info, 60.0)
    await VersionBoard(client, KEYS).announce(PolicyVersion.parse(version), "http://t")


def evaluate(config: Config, folder: Path, node: Node, version: str, when: str) -> Evaluation:
    evaluation = Evaluation(config, folder / "config.yaml", folder, Shown(), "test")

    async def run() -> None:
        assert config.redis.url is not None
        client = await connect(config.redis.url, 5.0)
        try:
            await register(client, node, version)
            await RunState(client, KEYS).update(steps=STEPS)
            await getattr(evaluation, when)(client)
        finally:
            await client.aclose()

    asyncio.run(run())
    return evaluation


def test_training_is_held_while_the_start_model_is_asked(config, tmp_path, node) -> None:
    with redis.Redis.from_url(config.redis.url) as client:
        held: list[int] = []
        node.meanwhile = lambda: held.append(client.pttl(KEYS.hold))
        evaluation = evaluate(config, tmp_path, node, "1.0", "before")
        assert len(held) == 12 and all(0 < left <= 30_000 for left in held)
        assert not client.exists(KEYS.hold)
    assert evaluation.missing() == ["after"]
    result = json.loads((tmp_path / "eval-before.json").read_text())
    assert evaluation.results == {"before": result}
    assert (result["items"], result["answers"]) == (6, 12)


def test_status_hears_how_far_it_is(config, tmp_path, node, monkeypatch) -> None:
    monkeypatch.setattr(report_evaluation, "_TELL_EVERY_S", 0.01)
    with redis.Redis.from_url(config.redis.url) as client:
        said: list[bytes] = []

        def answered() -> None:
            # The evaluation goes on with its loop until it has told of this answer's turn.
            wait_until(lambda: client.exists(KEYS.evaluation) == 1, lambda: "word of it", 20.0)
            said.append(client.get(KEYS.evaluation))

        node.meanwhile = answered
        evaluate(config, tmp_path, node, "1.0", "before")
        assert said[0].startswith(b"evaluation before training, ")
        assert not client.exists(KEYS.evaluation)


def test_a_result_before_training_is_kept(config, tmp_path, node) -> None:
    (tmp_path / "eval-before.json").write_text('{"items": 3}')
    evaluation = evaluate(config, tmp_path, node, "1.0", "before")
    assert evaluation.results == {"before": {"items": 3}}
    assert node.endpoint.requests == []


def test_a_model_that_was_trained_is_not_asked_for_the_start_model(config, tmp_path, node) -> None:
    evaluation = evaluate(config, tmp_path, node, "2.1", "before")
    assert node.endpoint.requests == [] and evaluation.missing() == ["before", "after"]


def test_answers_across_a_training_step_are_void(config, tmp_path, node) -> None:
    def step() -> None:
        with redis.Redis.from_url(config.redis.url) as client:
            client.xadd(KEYS.versions, {"version": "1.1", "url": "http://t"})

    node.meanwhile = step
    evaluation = evaluate(config, tmp_path, node, "1.0", "before")
    assert evaluation.missing() == ["before", "after"]
    assert not (tmp_path / "eval-before.json").exists()


def test_the_last_version_is_asked_after_training_and_no_other(config, tmp_path, node) -> None:
    assert evaluate(config, tmp_path, node, "1.3", "after").missing() == ["before", "after"]
    assert node.endpoint.requests == []
    assert evaluate(config, tmp_path, node, f"1.{STEPS}", "after").missing() == ["before"]
    assert len(node.endpoint.requests) == 12


def test_a_kept_result_of_other_questions_is_not_compared(config, tmp_path, node) -> None:
    assert evaluate(config, tmp_path, node, "1.0", "before").alike()
    assert evaluate(config, tmp_path, node, f"1.{STEPS}", "after").alike()
    fewer = config.model_copy(
        update={"data": config.data.model_copy(update={"heldout_samples": 2})}
    )
    assert not evaluate(fewer, tmp_path, node, f"1.{STEPS}", "after").alike()


def test_without_held_out_questions_nothing_is_asked(config, tmp_path, node) -> None:
    without = config.model_copy(update={"data": config.data.model_copy(update={"heldout": None})})
    assert evaluate(without, tmp_path, node, "1.0", "before").missing() == []
    assert node.endpoint.requests == []


def test_an_evaluation_that_takes_too_long_is_ended(config, tmp_path, node) -> None:
    slow = config.model_copy(update={"eval": config.eval.model_copy(update={"timeout_s": 0.05})})
    node.endpoint._delay_s = 5.0
    with pytest.raises(UserError, match=r"the evaluation before training \(eval\.timeout_s\)"):
        evaluate(slow, tmp_path, node, "1.0", "before")


def test_a_hold_ends_by_itself(redis_url: str) -> None:
    async def seen() -> list[set[str]]:
        client = await connect(redis_url, 5.0)
        state = RunState(client, KEYS)
        await state.ask("pause", True)
        found = [await state.wishes()]
        await state.hold(0.05)
        found.append(await state.wishes())
        async with asyncio.timeout(5):
            while "hold" in await state.wishes():
                await asyncio.sleep(0.01)
        await state.hold(60)
        await state.clear_wishes()
        found.append(await state.wishes())
        await state.release()
        found.append(await state.wishes())
        await client.aclose()
        return found

    kept = {"hold"}
    assert asyncio.run(seen()) == [{"pause"}, {"pause", "hold"}, kept, set()]
