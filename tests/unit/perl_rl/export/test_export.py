"""``perl-rl export``: which checkpoint is meant, and what is refused in one line."""

import json
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from perl_rl.export.main import chosen_step
from services.trainer.rank.checkpoint_folder import CheckpointFolder, CheckpointState
from shared.config import Config, save_config
from shared.errors import UserError
from shared.records.evaluations import evaluation_file
from tests.paths import START_MODEL


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints of steps 4, 8 and 12, evaluated at 4 and 8."""
    folder = tmp_path / "run"
    checkpoints = CheckpointFolder(folder / "checkpoints", keep=3)
    for step in (4, 8, 12):
        (checkpoints.begin() / "state").write_text(str(step))
        checkpoints.commit(CheckpointState(1, step, {}))
    (folder / "evaluations").mkdir()
    for step, accuracy in ((0, 0.9), (4, 0.6), (8, 0.5), (16, 0.8)):
        content = {"accuracy": {"value": accuracy}}
        evaluation_file(folder, step).write_text(json.dumps(content))
    settings = {"run": "r", "model": {"path": START_MODEL}, "data": {"train": "t"}, "trainer": {}}
    save_config(Config.model_validate(settings), folder / "config.yaml")
    return folder


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["export", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("perl-rl: error: ") and said.count("\n") == 1
    return said


def test_which_checkpoint_is_meant(run: Path) -> None:
    saved = [4, 8, 12]
    assert chosen_step(run, saved, None, best=False) == 12
    assert chosen_step(run, saved, 8, best=False) == 8
    assert chosen_step(run, saved, None, best=True) == 4, "step 16 was evaluated, not kept"
    with pytest.raises(UserError, match="no checkpoint of step 5; there are those of steps 4, 8"):
        chosen_step(run, saved, 5, best=False)
    with pytest.raises(UserError, match=r"--best: no checkpoint .* was evaluated .*of steps 12: "):
        chosen_step(run, [12], None, best=True)
    with pytest.raises(UserError, match="there is no checkpoint yet"):
        chosen_step(run, [], None, best=False)


def test_a_damaged_checkpoint_is_refused_with_the_others(run: Path, tmp_path, capsys) -> None:
    (run / "checkpoints/step-000008/state").write_text("other")
    said = refused(capsys, str(run), "--step", "8", "--out", str(tmp_path / "new" / "model"))
    assert "step-000008: is damaged: state does not match its SHA-256; choose another " in said
    assert "--step: 4, 12" in said
    (run / "checkpoints/step-000012/state").unlink()
    said = refused(capsys, str(run), "--out", str(tmp_path / "model"))
    assert "step-000012: is damaged: state is missing" in said
    assert not any((tmp_path / "model").iterdir())


def test_a_folder_that_holds_no_run_or_a_model_already_is_refused(run, tmp_path, capsys) -> None:
    out = tmp_path / "model"
    assert f"{tmp_path}: holds no run" in refused(capsys, str(tmp_path), "--out", str(out))
    out.mkdir()
    (out / "config.json").write_text("{}")
    said = refused(capsys, str(run), "--out", str(out))
    assert f"--out {out}: is there already, and not empty" in said
    assert (out / "config.json").read_text() == "{}"


def test_whole_weights_cannot_be_merged(run, tmp_path, capsys) -> None:
    said = refused(capsys, str(run), "--merged", "--out", str(tmp_path / "model"))
    assert "--merged: the run trained whole weights (model.lora is not set); leave it out" in said
