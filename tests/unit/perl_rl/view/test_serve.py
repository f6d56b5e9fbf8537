"""Whose token the pages ask for when other machines reach them."""

from pathlib import Path

from perl_rl.view.serve import token_of
from shared.config import Config, save_config


def save_run(folder: Path, name: str, token: str | None) -> Path:
    content = {
        "run": "r",
        "model": {"path": "m"},
        "data": {"train": "t"},
        "trainer": {},
        "security": {"token": token},
    }
    folder.mkdir()
    save_config(Config.model_validate(content), folder / name)
    return folder


def test_the_token_is_that_of_a_run_however_it_was_started(tmp_path: Path) -> None:
    open_run = save_run(tmp_path / "open", "config.yaml", None)
    launched = save_run(tmp_path / "launched", "config.yaml", "one")
    served = save_run(tmp_path / "served", "trainer-config.yaml", "two")
    assert token_of([open_run]) is None
    assert token_of([open_run, launched]) == "one"
    assert token_of([served]) == "two"
    assert token_of([tmp_path / "result.json"]) is None
