"""Checkpoints as one real gloo rank writes them."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis.asyncio
import torch
from torch import distributed

from services.trainer.rank.checkpoint_folder import CheckpointFolder, CheckpointState
from services.trainer.rank.checkpoints import Checkpoints
from shared.config.trainer import CheckpointConfig
from shared.records.evaluations import evaluation_file
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion
from shared.wire.runstate import RunState, TrainerState


class Engine:
    """What DeepSpeed's engine does for a checkpoint."""

    module = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 2)})

    def save_checkpoint(self, folder: str, tag: str, **_: bool) -> None:
        (Path(folder) / tag).write_text("state")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Checkpoints]:
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    # Nobody connects: the link is asked for the ledger's account only.
    client, account = redis.asyncio.Redis(), ({"g": "trained:4"}, {"g": "kept:0.5000"}, {"easy": 2})
    link = SimpleNamespace(client=client, keys=Keys("test"), do=lambda work: account)
    settings = CheckpointConfig(keep=2)
    yield Checkpoints(link, Engine(), tmp_path, settings, torch.device("cpu"))
    distributed.destroy_process_group()


def _version(step: int) -> PolicyVersion:
    return PolicyVersion(incarnation=1, step=step)


def test_training_goes_on_while_a_checkpoint_is_sealed(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_seal, commit = threading.Event(), CheckpointFolder.commit

    def slowly(folder: CheckpointFolder, state: CheckpointState, spared: set[int]) -> Path:
        assert may_seal.wait(30)
        return commit(folder, state, spared)

    monkeypatch.setattr(CheckpointFolder, "commit", slowly)
    folder = CheckpointFolder(tmp_path / "checkpoints", 2)

    checkpoints.write(_version(4))
    assert folder.newest_step() == 0

    may_seal.set()
    checkpoints.write(_version(5))
    assert folder.newest_step() >= 4, "one is sealed before the next is begun"
    checkpoints.finish()
    assert folder.newest_step() == 5
    found = folder.latest()
    assert found is not None
    state = found[1]
    assert (state.settled, state.verdicts) == ({"g": "trained:4"}, {"g": "kept:0.5000"})
    assert state.skipped == {"easy": 2}
    assert folder.set_damaged_aside() == []


class EvaluatingLink:
    """Says which step is evaluated now."""

    client, keys, evaluating = redis.asyncio.Redis(), Keys("test"), 0

    def do(self, work: Callable[..., object]) -> object:
        asks_state = getattr(work, "__self__", None).__class__ is RunState
        return TrainerState(evaluating=self.evaluating) if asks_state else {"g": "trained:4"}


def test_the_best_checkpoint_and_the_one_being_evaluated_are_kept(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    link, best = EvaluatingLink(), CheckpointConfig(keep=1, keep_best=True)
    checkpoints = Checkpoints(link, Engine(), tmp_path, best, torch.device("cpu"))
    folder = CheckpointFolder(tmp_path / "checkpoints", 1)
    (tmp_path / "evaluations").mkdir()

    def kept_after(step: int, evaluated: dict[int, float], evaluating: int) -> list[int]:
        for one, accuracy in evaluated.items():
            content = {"accuracy": {"value": accuracy}}
            evaluation_file(tmp_path, one).write_text(json.dumps(content))
        link.evaluating = evaluating
        checkpoints.write(_version(step))
        checkpoints.finish()
        return folder.steps()

    assert kept_after(1, {0: 0.99}, 0) == [1], "the start model has no checkpoint"
    assert kept_after(2, {}, 1) == [1, 2]
    assert kept_after(3, {1: 0.5}, 0) == [1, 3]
    assert kept_after(4, {}, 3) == [1, 3, 4]
    assert kept_after(5, {3: 0.6}, 0) == [3, 5], "a better one has come"
    assert kept_after(6, {5: 0.4}, 0) == [3, 6]


def test_a_checkpoint_that_cannot_be_sealed_is_an_error(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: CheckpointFolder, state: object, spared: set[int]) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(CheckpointFolder, "commit", fails)
    checkpoints.write(_version(4))
    with pytest.raises(OSError, match="no space left"):
        checkpoints.finish()
