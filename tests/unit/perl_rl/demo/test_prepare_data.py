"""Data that the configuration knows how to write: written when it is missing, else left alone."""

from pathlib import Path

import pytest

from perl_rl.launch.main import launch
from shared.errors import UserError
from tests.paths import START_MODEL

calls: list[tuple[Path, int]] = []


def write_nothing_but_a_row(folder: Path, seed: int) -> None:
    """Writes a data set whose picture is missing, so that the launch ends at its next check."""
    calls.append((folder, seed))
    folder.mkdir()
    (folder / "train.jsonl").write_text(
        '{"id": "a", "question": "<image>", "images": ["gone.png"], "answer": "1", "kind": "text"}'
    )


@pytest.fixture
def config(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(
        f"run: prepared\nseed: 7\nmodel:\n  path: {START_MODEL}\ndata:\n  train: data/train.jsonl\n"
        f"  prepare: {request.param}\ntrainer: {{port: 0}}\n"
        "rollout: {port: 0, engine: {max_model_len: 2048}}\n"
        "reward: {port: 0}\nsampling: {max_tokens: 64}\n",
        encoding="utf-8",
    )
    return file


@pytest.mark.parametrize("config", [f"{__name__}:write_nothing_but_a_row"], indirect=True)
def test_missing_data_is_written_once_with_the_runs_seed(config: Path) -> None:
    calls.clear()
    folder = config.parent / "data"
    for _ in range(2):
        with pytest.raises(UserError, match=r"gone\.png"):
            launch(config, run_dir=config.parent / "run")
    assert calls == [(folder, 7)]


@pytest.mark.parametrize("config", ["json:no_such_function", "no_such_module:f"], indirect=True)
def test_a_wrong_path_is_named(config: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.prepare '.*': .* has no function|there is no mod"):
        launch(config, run_dir=config.parent / "run")
