"""Weights on a folder that trainer and node share: the trainer's own files, checked before use."""

import asyncio
from pathlib import Path

import pytest
import torch

from services.rollout.weights.fetched import FetchFailed
from services.rollout.weights.filesystem import FilesystemFetcher
from services.rollout.weights.loader import mapped_tensors
from services.rollout.weights.watch import fetcher
from services.trainer.rank.publishers import backend
from shared.config import Config
from shared.weights.manifest import CorruptWeights, Manifest
from shared.wire.board import Announcement
from shared.wire.messages import PolicyVersion

VERSION = PolicyVersion(incarnation=1, step=7)
TENSORS = [("a", torch.arange(5000, dtype=torch.float32)), ("b", torch.ones(3).bfloat16())]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": "m"},
            "data": {"train": "t"},
            "trainer": {},
            "weights": {"backend": "filesystem", "folder": tmp_path / "a folder"},
        }
    )


@pytest.fixture
def announced(config: Config, tmp_path: Path) -> Announcement:
    address = backend(config.weights, tmp_path / "run", "", None).publish(VERSION, TENSORS)
    return Announcement("1-0", VERSION, address)


def take(config: Config, announcement: Announcement) -> dict[str, torch.Tensor]:
    """What the engine would load; and that the node wrote nothing."""

    async def run() -> dict[str, torch.Tensor]:
        one = fetcher(config)
        assert isinstance(one, FilesystemFetcher)
        async with one.fetched(announcement) as files:
            manifest = Manifest.model_validate_json(files.manifest.read_text())
            assert files.version == manifest.version == VERSION
            return {name: tensor.clone() for name, tensor in mapped_tensors(manifest, files.data)}

    return asyncio.run(run())


def test_a_version_is_taken_from_where_the_trainer_wrote_it(
    config: Config, announced: Announcement, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    loaded = take(config, announced)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS)
    assert sorted(tmp_path.rglob("*")) == before
    assert [one.name for one in (tmp_path / "a folder").iterdir()] == ["1.7"]


def test_a_damaged_version_is_refused(
    config: Config, announced: Announcement, tmp_path: Path
) -> None:
    file = tmp_path / "a folder/1.7/weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(data)
    with pytest.raises(CorruptWeights, match=r"weights 1\.7: .* do not match the manifest"):
        take(config, announced)


@pytest.mark.parametrize("missing", ["manifest.json", "weights.safetensors"])
def test_a_folder_that_the_node_does_not_see_is_named(
    config: Config, announced: Announcement, tmp_path: Path, missing: str
) -> None:
    (tmp_path / "a folder/1.7" / missing).unlink()
    with pytest.raises(FetchFailed, match=r"a folder/1\.7 .*that trainer and nodes share"):
        take(config, announced)


def test_a_version_cut_short_is_named(
    config: Config, announced: Announcement, tmp_path: Path
) -> None:
    file = tmp_path / "a folder/1.7/weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(FetchFailed, match="cannot be read"):
        take(config, announced)


def test_an_address_of_another_backend_is_named(config: Config) -> None:
    with pytest.raises(FetchFailed, match=r"set weights\.backend to the same"):
        take(config, Announcement("1-0", VERSION, "http://trainer:8010/weights/1.7"))
