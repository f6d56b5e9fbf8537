"""Checkpoints as one real gloo rank writes them."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis.asyncio
import torch
from torch import distributed

from services.trainer.rank.checkpoint_folder import CheckpointFolder
from services.trainer.rank.checkpoints import Checkpoints
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion


class Engine:
    """What DeepSpeed's engine does for a checkpoint."""

    module = torch.nn.Linear(2, 2)

    def save_checkpoint(self, folder: str, tag: str, save_latest: bool) -> None:
        (Path(folder) / tag).write_text("state")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Checkpoints]:
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    # Nobody connects: the link is asked for the ledger's account only.
    client, account = redis.asyncio.Redis(), ({"g": "trained:4"}, {"g": "kept:0.5000"}, {"easy": 2})
    link = SimpleNamespace(client=client, keys=Keys("test"), do=lambda work: account)
    yield Checkpoints(link, Engine(), tmp_path / "checkpoints", 2, torch.device("cpu"))
    distributed.destroy_process_group()


def _version(step: int) -> PolicyVersion:
    return PolicyVersion(incarnation=1, step=step)


def test_training_goes_on_while_a_checkpoint_is_sealed(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_seal, commit = threading.Event(), CheckpointFolder.commit

    def slowly(folder: CheckpointFolder, state: object) -> Path:
        assert may_seal.wait(30)
        return commit(folder, state)

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


def test_a_checkpoint_that_cannot_be_sealed_is_an_error(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: CheckpointFolder, state: object) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(CheckpointFolder, "commit", fails)
    checkpoints.write(_version(4))
    with pytest.raises(OSError, match="no space left"):
        checkpoints.finish()
