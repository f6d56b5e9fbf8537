"""What keeps a rollout node from starting is said in one line, before the engine is loaded."""

import re
import socket
from pathlib import Path

import pytest

from services.rollout.serve import serve
from shared.config import Config
from shared.errors import UserError


def config(model: Path, url: str | None, **rollout: object) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "redis": {"url": url, "timeout_s": 2.0},
            "model": {"path": model},
            "data": {"train": "t"},
            "rollout": rollout,
            "trainer": {},
        }
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model's."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def refused(config: Config, port: int = 0) -> str:
    with pytest.raises(UserError) as caught:
        serve(config, name="rollout-0", run_dir=None, port=port)
    return str(caught.value)


def test_redis_must_be_named(model: Path) -> None:
    assert "redis.url" in refused(config(model, None))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    message = refused(config(tmp_path / "gone", "redis://127.0.0.1:1/0"))
    assert re.search(r"model\.path .*gone: there is no such folder", message)


@pytest.mark.slow
def test_a_redis_that_does_not_answer_is_named(model: Path) -> None:
    assert "redis://127.0.0.1:1/0" in refused(config(model, "redis://127.0.0.1:1/0"))


def test_a_port_in_use_is_named(model: Path, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused(config(model, redis_url), port)
    assert f"127.0.0.1:{port}" in message
    assert "rollout.port" in message
