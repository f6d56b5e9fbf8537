"""What keeps a trainer from starting, or from continuing, is said in one line, with what to do."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
import torch

from perl_rl.demo.model import build_model, build_processor, save
from services.trainer.compute.model import load_model
from services.trainer.control.plane import ControlPlane
from services.trainer.control.ranks import HostRanks
from services.trainer.control.serve import serve
from services.trainer.hosts.join import join
from shared.config import Config
from shared.config.trainer import TrainerConfig
from shared.errors import UserError
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from tests.scripted_sampler import demo_config

ROW = '{"id": "a", "question": "?", "answer": "1", "kind": "number"}\n'
PATIENCE_S = 60.0


@pytest.fixture
def config(tmp_path: Path, redis_url: str) -> Config:
    """A run with one question and no model."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(ROW)
    return Config.model_validate(demo_config(tmp_path, redis_url, max_restarts=1))


def test_a_run_folder_must_be_named(config: Config) -> None:
    with pytest.raises(UserError, match=r"^trainer: --run-dir is needed; checkpoints and the pol"):
        serve(config, name="trainer", run_dir=None)
    with pytest.raises(UserError, match=r"^trainer join: --run-dir is needed: the folder of the"):
        join(config, None, 1)


def test_redis_must_be_named(config: Config, tmp_path: Path) -> None:
    nowhere = config.model_copy(update={"redis": config.redis.model_copy(update={"url": None})})
    with pytest.raises(UserError, match=r"^redis\.url: the trainer service needs the address of R"):
        serve(nowhere, name="trainer", run_dir=tmp_path)
    with pytest.raises(UserError, match=r"^redis\.url: a worker host of the trainer needs the a"):
        join(nowhere, tmp_path, 1)


def test_a_host_that_the_configuration_does_not_have_is_named(
    config: Config, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^trainer join --host 1: trainer\.hosts is 1, so the wor"):
        join(config, tmp_path, 1)


def test_a_model_that_cannot_be_loaded_is_named(config: Config, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=rf"^model\.path {re.escape(str(tmp_path))}/model: \S"):
        load_model(config.model.path, config, torch.device("cpu"))


def test_a_model_is_trained_without_dropout_because_the_sampler_has_none(
    config: Config, tmp_path: Path
) -> None:
    processor = build_processor()
    model = build_model(processor, seed=0)
    model.config.text_config.attention_dropout = 0.5
    save(model, processor, tmp_path / "model")
    loaded = load_model(config.model.path, config, torch.device("cpu")).train()
    ids = torch.arange(20, 40)[None]
    first, second = (loaded(input_ids=ids).logits for _ in range(2))
    assert torch.equal(first, second)


def test_pickled_weights_are_not_loaded(config: Config, tmp_path: Path) -> None:
    processor = build_processor()
    model = build_model(processor, seed=0)
    save(model, processor, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"^model\.path .*/model: .*safetensors"):
        load_model(config.model.path, config, torch.device("cpu"))


@pytest.mark.slow
async def test_ranks_that_fail_again_and_again_end_the_run(
    config: Config, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What follows their end is under test; real ranks start slowly, and are killed in test_trainer.
    dying = [sys.executable, "-c", "raise SystemExit(3)"]
    monkeypatch.setattr(HostRanks, "command", lambda host, incarnation: dying)
    client = await connect(redis_url, 10.0)
    plane = ControlPlane(client, config, tmp_path / "config.yaml", tmp_path, "http://here")
    message = (
        r"^trainer: the ranks failed 2 times without a new checkpoint between "
        r"\(trainer\.max_restarts\); the log above says why$"
    )
    with pytest.raises(UserError, match=message):
        await asyncio.wait_for(plane.run(asyncio.Event()), PATIENCE_S)
    state = await RunState(client, Keys("test")).get()
    assert (state.phase, state.detail) == ("failed", "the trainer's ranks ended with status 3")
    assert state.incarnation == 2
    await client.aclose()


async def test_ranks_end_within_seconds_when_those_of_a_worker_host_fail(
    config: Config, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ranks that wait in a collective notice nothing of what happened elsewhere.
    waiting = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(HostRanks, "command", lambda host, incarnation: waiting)
    trainer = config.trainer.model_copy(update={"max_restarts": 0})
    config = config.model_copy(update={"trainer": trainer})
    client = await connect(redis_url, 10.0)
    plane = ControlPlane(client, config, tmp_path / "config.yaml", tmp_path, "http://here")
    running = asyncio.create_task(plane.run(asyncio.Event()))
    state = RunState(client, Keys("test"))
    async with asyncio.timeout(PATIENCE_S):
        while (await state.get()).incarnation != 1:
            await asyncio.sleep(0.05)
    await state.update(failed_elsewhere=1)

    with pytest.raises(UserError, match="the ranks failed 1 times"):
        await asyncio.wait_for(running, PATIENCE_S)

    assert (await state.get()).detail == "the ranks of a worker host failed; its log says why"
    await client.aclose()


def test_the_groups_are_missed_before_the_ranks_are(config: Config) -> None:
    settings = config.trainer.model_dump()
    assert config.trainer.rank_patience_s() > config.trainer.groups_timeout_s
    message = (
        r"collective_timeout_s \(1800\) must be more than groups_timeout_s \(1800\): the ranks wait"
    )
    with pytest.raises(ValueError, match=message):
        TrainerConfig.model_validate(
            {**settings, "groups_timeout_s": 1800, "collective_timeout_s": 1800}
        )
