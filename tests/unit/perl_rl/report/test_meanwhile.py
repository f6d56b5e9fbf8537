"""Evaluations while training goes on: when, of which versions, and what ends one.

Real Redis and HTTP; the nodes' answers and the trainer's versions are scripted.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio
from fastapi.responses import JSONResponse

from perl_rl.demo.digits import write_data
from perl_rl.report.meanwhile import MeanwhileEvaluation
from shared.config import Config
from shared.errors import UserError
from shared.records.evaluations import evaluation_file, evaluation_files, read_evaluation
from shared.service.connection import connect
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion
from shared.wire.registry import VERSIONS_HEADER, NodeInfo, Registry
from shared.wire.runstate import RunState
from tests.scripted_endpoint import Body, ScriptedEndpoint, completion
from tests.unit.perl_rl.report.test_pace import Shown

pytestmark = pytest.mark.anyio

KEYS = Keys("r")
PATIENCE_S = 20.0


class Notes(Shown):
    """Remembers the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


class Node:
    """A scripted node, which names the versions that it is given and waits while it is held."""

    def __init__(self) -> None:
        self.versions = "1.0 1.0"
        self.endpoint = ScriptedEndpoint(lambda body: 500)
        self.endpoint.script = self._answer

    def _answer(self, body: Body) -> JSONResponse:
        headers = {VERSIONS_HEADER: self.versions}
        return JSONResponse(completion(body, "\\boxed{B}"), headers=headers)


@pytest.fixture
def node() -> Iterator[Node]:
    found = Node()
    with found.endpoint.serving():
        yield found


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, seed=1, train=3, held_out=3)
    return folder / "heldout.jsonl"


@pytest.fixture
def config(heldout: Path, redis_url: str) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "redis": {"url": redis_url},
            "model": {"path": "m"},
            "data": {"train": "t", "heldout": heldout},
            "trainer": {"steps": 8},
            "rollout": {"heartbeat_s": 0.1, "lost_after_s": 0.2, "start_timeout_s": 1.0},
            "weights": {"fetch_timeout_s": 1.0},
            "eval": {"orders": 2, "every_steps": 2},
        }
    )


class Trainer:
    """Announces versions, and watches what comes of them."""

    def __init__(self, client: redis.asyncio.Redis, node: Node, folder: Path) -> None:
        self.client, self.folder, self.notes = client, folder, Notes()
        self._node = node
        self._board = VersionBoard(client, KEYS)
        self.state = RunState(client, KEYS)

    async def train(self, *versions: str, held: str | None = None) -> None:
        """Train these, and let the node hold the last one, or `held`."""
        for version in versions:
            incarnation = PolicyVersion.parse(version).incarnation
            await self.state.update(incarnation=incarnation)
            await self._board.announce(PolicyVersion.parse(version), "http://t")
            await self.register(held or version)

    async def register(self, version: str) -> None:
        url = self._node.endpoint.url.removesuffix("/v1")
        info = NodeInfo(name="rollout-0", kind="rollout", url=url, state="ready", version=version)
        await Registry(self.client, KEYS).heartbeat(info, 60.0)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not reached():
                await asyncio.sleep(0.01)

    async def until_noted(self, text: str) -> str:
        await self.until(lambda: any(text in line for line in self.notes.lines))
        return next(line for line in self.notes.lines if text in line)

    async def until_evaluated(self, step: int) -> dict:
        await self.until_noted(f"evaluation at step {step}: accuracy")
        async with asyncio.timeout(PATIENCE_S):
            while (await self.state.get()).evaluating:
                await asyncio.sleep(0.01)
        return read_evaluation(evaluation_file(self.folder, step))


@asynccontextmanager
async def evaluating(config: Config, folder: Path, node: Node) -> AsyncIterator[Trainer]:
    assert config.redis.url is not None
    client = await connect(config.redis.url, 5.0)
    trainer = Trainer(client, node, folder)
    meanwhile = MeanwhileEvaluation(client, config, folder, trainer.notes, "test")
    try:
        async with meanwhile.beside():
            yield trainer
    finally:
        await client.aclose()


async def test_every_so_many_steps_are_evaluated_and_not_the_ends(config, tmp_path, node) -> None:
    async with evaluating(config, tmp_path, node) as trainer:
        for step in range(9):
            node.versions = f"1.{step} 1.{step}"
            await trainer.train(f"1.{step}")
            if step in (2, 4, 6):
                found = await trainer.until_evaluated(step)
                assert (found["asked"]["prompts"], found["versions"]) == (6, [f"1.{step}"])
        state = await trainer.state.get()
    assert list(evaluation_files(tmp_path)) == [2, 4, 6]
    assert state.evaluation.startswith("step 6: accuracy 0.")
    assert state.evaluation.endswith("(version 1.6)")


async def test_answers_of_several_versions_are_not_called_one_versions(
    config, tmp_path, node
) -> None:
    node.versions = "1.2 1.5"
    async with evaluating(config, tmp_path, node) as trainer:
        await trainer.train("1.1", "1.2")
        found = await trainer.until_evaluated(2)
        assert found["versions"] == ["1.2", "1.5"]
        assert "(versions 1.2 to 1.5)" in await trainer.until_noted("evaluation at step 2: acc")


async def test_one_that_is_not_done_lets_the_next_pass(config, tmp_path, node) -> None:
    node.endpoint._hold_after = 0
    async with evaluating(config, tmp_path, node) as trainer:
        await trainer.train("1.2")
        await trainer.until(node.endpoint.held.is_set)
        assert (await trainer.state.get()).evaluating == 2
        await trainer.train("1.3", "1.4")
        line = await trainer.until_noted("no evaluation at step 4")
        assert "that of step 2 is still under way (raise eval.every_steps" in line
        node.endpoint.release.set()
        await trainer.until_evaluated(2)
        await trainer.train("1.5", "1.6")
        await trainer.until_evaluated(6)
    assert list(evaluation_files(tmp_path)) == [2, 6]


async def test_a_new_incarnation_ends_it_and_its_own_steps_are_evaluated(
    config, tmp_path, node
) -> None:
    node.endpoint._hold_after = 0
    async with evaluating(config, tmp_path, node) as trainer:
        await trainer.train("1.4")
        await trainer.until(node.endpoint.held.is_set)
        await trainer.train("2.1")
        await trainer.until_noted("evaluation at step 4 is given up: the trainer goes on from a")
        node.endpoint.release.set()
        await trainer.train("2.2")
        await trainer.until_evaluated(2)
    assert list(evaluation_files(tmp_path)) == [2]


async def test_without_nodes_it_is_given_up_and_the_run_goes_on(config, tmp_path, node) -> None:
    async with evaluating(config, tmp_path, node) as trainer:
        await trainer.train("1.2", held="1.1")
        line = await trainer.until_noted("evaluation at step 2 is given up")
        assert "no rollout node had the weights to evaluate" in line
        await trainer.train("1.4")
        await trainer.until_evaluated(4)


async def test_what_is_under_way_at_the_end_is_given_up(config, tmp_path, node) -> None:
    node.endpoint._hold_after = 0
    async with evaluating(config, tmp_path, node) as trainer:
        await trainer.train("1.2")
        await trainer.until(node.endpoint.held.is_set)
    assert trainer.notes.lines[-1] == "evaluation at step 2 is given up: training has ended"
    assert evaluation_files(tmp_path) == {}


async def test_what_fails_in_the_block_is_not_hidden(config, tmp_path, node) -> None:
    with pytest.raises(UserError, match="of the block"):
        async with evaluating(config, tmp_path, node):
            raise UserError("of the block")


async def test_it_is_off_unless_it_is_asked_for(config, tmp_path, node) -> None:
    off = config.model_copy(update={"eval": config.eval.model_copy(update={"every_steps": None})})
    async with evaluating(off, tmp_path, node) as trainer:
        await trainer.train("1.2", "1.4")
        assert trainer.notes.lines == []
    assert node.endpoint.requests == []
