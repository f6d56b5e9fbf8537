"""``launch --resume`` on a run that has trained all its steps."""

import json
from pathlib import Path

import pytest
import yaml

from perl_rl.demo.digits import write_data
from perl_rl.launch.main import launch
from services.trainer.control.identity import identity_of, keep_identity
from services.trainer.rank.checkpoint_folder import CheckpointFolder, CheckpointState
from shared.config import load_config
from shared.errors import UserError
from tests.paths import START_MODEL


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a run of two steps, whose folder ``run`` holds all of them."""
    write_data(tmp_path / "data", seed=1, train=6, held_out=3)
    settings = {
        "run": "r",
        "model": {"path": str(START_MODEL)},
        "trainer": {"steps": 2, "port": 0},
        "data": {"train": "data/train.jsonl"},
    }
    file, run = tmp_path / "run.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(settings))
    checkpoints = CheckpointFolder(run / "checkpoints", keep=1)
    (checkpoints.begin() / "state").write_text("")
    checkpoints.commit(CheckpointState(1, 2, {}))
    keep_identity(run, identity_of(load_config(file)))
    (run / "summary.json").write_text(json.dumps({"outcome": "done", "steps": 2}))
    return file


def resume(config: Path, *overrides: str) -> int:
    return launch(config, config.parent / "run", overrides, resume=True)


def test_there_is_nothing_to_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert resume(config) == 0
    assert "nothing to do: " in capsys.readouterr().out


def test_with_other_settings_or_data_it_is_another_run(config: Path) -> None:
    with pytest.raises(UserError, match=r"cannot go on from step .* seed was 0, now 5"):
        resume(config, "seed=5")
    write_data(config.parent / "data", seed=2, train=6, held_out=3)
    with pytest.raises(UserError, match=r"cannot go on from step .* data\.train"):
        resume(config)
