"""A version is published beside the next step, in an order that the feeder relies on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis.asyncio
import torch
from safetensors.torch import load_file
from torch import distributed

from services.trainer.rank.intake import HeldGroup, Intake
from services.trainer.rank.publish import Publisher
from services.trainer.rank.publishers.spool import WeightSpool
from shared.config import Config
from shared.service.connection import connect
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, encode
from shared.wire.queues import WorkStream
from shared.wire.runstate import RunState
from tests.builders import group
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

KEYS = Keys("test")
BEFORE = PolicyVersion(incarnation=2, step=5)
VERSION = PolicyVersion(incarnation=2, step=6)
WAIT_S = 30.0


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = await connect(redis_url, 10.0)
    await RunState(client, KEYS).update(incarnation=2)
    await WorkStream(client, KEYS.groups, "test").create()
    yield client
    await client.aclose()


@pytest.fixture
def config(redis_url: str, tmp_path: Path) -> Config:
    return Config.model_validate(
        demo_config(tmp_path, redis_url, groups_per_step=1, max_staleness=1)
    )


@pytest.fixture
async def trained(client: redis.asyncio.Redis, config: Config) -> list[HeldGroup]:
    """A group that the trainer holds."""
    scored = group()
    assert await Ledger(client, KEYS).issue([one.batch.task for one in scored.orders], {})
    await client.xadd(KEYS.groups, {"m": encode(scored)})
    return await Intake(client, KEYS, config, incarnation=2).batch(BEFORE)


@pytest.fixture
def model() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


@pytest.fixture
def publisher(config: Config, model: torch.nn.Module, tmp_path: Path) -> Iterator[Publisher]:
    """The only rank's, with a model that DeepSpeed does not shard."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    engine = SimpleNamespace(module=SimpleNamespace(model=model))
    yield Publisher(config, engine, tmp_path, "http://here")
    distributed.destroy_process_group()


async def test_training_goes_on_while_a_version_is_written(
    publisher: Publisher,
    model: torch.nn.Module,
    trained: list[HeldGroup],
    client: redis.asyncio.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_write, write = threading.Event(), WeightSpool.write

    def slowly(*arguments: object) -> object:
        assert may_write.wait(WAIT_S)
        return write(*arguments)

    monkeypatch.setattr(WeightSpool, "write", slowly)
    before = model.weight.detach().clone()

    publisher.publish(VERSION, trained)
    with torch.no_grad():
        model.weight.add_(1.0)
    publisher.check()
    assert await VersionBoard(client, KEYS).current() is None
    assert (await Ledger(client, KEYS).counts()).in_flight == 1

    may_write.set()
    await asyncio.to_thread(publisher.finish)
    announced = await VersionBoard(client, KEYS).current()
    assert announced is not None and announced.version == VERSION
    counts = await Ledger(client, KEYS).counts()
    assert (counts.trained, counts.in_flight) == (1, 0)
    published = load_file(tmp_path / "weights" / str(VERSION) / "weights.safetensors")
    assert torch.equal(published["weight"], before), "the weights of the step, not later ones"
    await asyncio.to_thread(publisher.close)


async def test_no_group_is_settled_before_its_version_is_announced(
    publisher: Publisher,
    trained: list[HeldGroup],
    client: redis.asyncio.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(VersionBoard, "announce", fails)
    publisher.publish(VERSION, trained)
    with pytest.raises(OSError, match="no route"):
        await asyncio.to_thread(publisher.finish)
    assert (await Ledger(client, KEYS).counts()).in_flight == 1


async def test_the_wait_for_groups_ends_when_a_version_cannot_be_written(
    publisher: Publisher,
    config: Config,
    client: redis.asyncio.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(WeightSpool, "write", full)
    publisher.publish(VERSION, [])
    intake = Intake(client, KEYS, config, incarnation=2)
    with pytest.raises(OSError, match="No space left"):
        await asyncio.wait_for(intake.batch(VERSION, publisher.check), WAIT_S)
