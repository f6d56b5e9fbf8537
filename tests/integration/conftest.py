"""What integration tests share. Engines are imported by the tests that need them only."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.live_node import LiveNode


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of two tiny Qwen2.5-VL models with other weights throughout, and a processor."""
    from perl_rl.demo.model import build_model, build_processor, save

    folders = (tmp_path_factory.mktemp("model-a"), tmp_path_factory.mktemp("model-b"))
    processor = build_processor()
    for seed, folder in enumerate(folders):
        save(build_model(processor, seed), processor, folder)
    return folders


@pytest.fixture(scope="session")
def live_node(
    redis_server: str,
    tiny_models: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator["LiveNode"]:
    """The one rollout node of the session, sampling with the first tiny model's weights."""
    from tests.integration.live_node import running_node

    with running_node(redis_server, tiny_models, tmp_path_factory.mktemp("versions")) as node:
        yield node
