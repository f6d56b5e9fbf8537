"""Published versions on disk: their bytes, digests, deltas, and which of them stay."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.trainer.rank.publishers.spool import WeightSpool
from shared.weights.delta import apply
from shared.weights.manifest import CorruptWeights, Manifest, verify
from shared.wire.messages import PolicyVersion

DATA, DELTA = "weights.safetensors", "delta.bin"


def version(step: int, incarnation: int = 1) -> PolicyVersion:
    return PolicyVersion(incarnation=incarnation, step=step)


@pytest.fixture
def spool(tmp_path: Path) -> Callable[..., WeightSpool]:
    def make(**changes: int) -> WeightSpool:
        settings = {"bucket_bytes": 4096, "keep": 2, "chain": 3, "full_every": 100} | changes
        return WeightSpool(tmp_path, **settings)

    return make


def weights(step: int, size: int = 10_000) -> dict[str, torch.Tensor]:
    """A model in which each step moves a few numbers."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(size, generator=generator).to(torch.bfloat16)
    table[: 5 * step] += 1
    return {"moves": table.reshape(2, -1), "stays": torch.ones(size, dtype=torch.bfloat16)}


def test_published_bytes_are_the_tensors_and_match_their_digests(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    }
    WeightSpool(tmp_path, bucket_bytes=10, keep=2).write(version(3), tensors.items())

    manifest = Manifest.model_validate_json((tmp_path / "1.3" / "manifest.json").read_text())
    data = (tmp_path / "1.3" / DATA).read_bytes()
    assert {bucket.nbytes for bucket in manifest.buckets[:-1]} == {10}
    assert sum(bucket.nbytes for bucket in manifest.buckets) == len(data) == manifest.nbytes
    for bucket in manifest.buckets:
        verify(bucket, data[bucket.offset : bucket.offset + bucket.nbytes], manifest.version)
    for info in manifest.tensors:
        part = data[info.offset : info.offset + info.nbytes]
        read = torch.frombuffer(bytearray(part), dtype=getattr(torch, info.dtype))
        assert torch.equal(read.reshape(info.shape), tensors[info.name])


def test_other_programs_read_a_version_as_safetensors(
    spool: Callable[..., WeightSpool], tmp_path: Path
) -> None:
    spool().write(version(1), weights(1).items())
    read = load_file(tmp_path / "1.1" / DATA)
    assert read.keys() == weights(1).keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in weights(1).items())


def test_a_changed_byte_is_noticed(spool: Callable[..., WeightSpool], tmp_path: Path) -> None:
    manifest = spool().write(version(0), [("a", torch.zeros(4))])
    data = bytearray((tmp_path / "1.0" / DATA).read_bytes())
    data[-1] ^= 1
    with pytest.raises(CorruptWeights, match="do not match the manifest"):
        verify(manifest.buckets[0], bytes(data), manifest.version)


def test_the_chain_of_deltas_leads_to_the_newest_version(
    spool: Callable[..., WeightSpool], tmp_path: Path
) -> None:
    keeper = spool()
    keeper.write(version(1), weights(1).items())
    start = (tmp_path / "1.1" / DATA).read_bytes()
    for step in (2, 3, 4):
        manifest = keeper.write(version(step), weights(step).items())

    chain = manifest.chain_from(version(1))
    assert chain is not None and [one.version.step for one in chain] == [2, 3, 4]
    assert sum(one.nbytes for one in chain) < 0.05 * manifest.nbytes
    result = bytearray(start)
    for one in chain:
        blocks = (tmp_path / str(one.version) / DELTA).read_bytes()
        for bucket, size in zip(manifest.buckets, one.blocks, strict=True):
            block, blocks = blocks[:size], blocks[size:]
            end = bucket.offset + bucket.nbytes
            apply(block, np.frombuffer(memoryview(result)[bucket.offset : end], np.uint8), 2)
        assert blocks == b""
    assert bytes(result) == (tmp_path / "1.4" / DATA).read_bytes()


def test_whole_versions_go_before_their_deltas(
    spool: Callable[..., WeightSpool], tmp_path: Path
) -> None:
    keeper = spool()
    for step in range(8, 14):
        keeper.write(version(step), weights(step).items())
    kept = {path.name: sorted(one.name for one in path.iterdir()) for path in tmp_path.iterdir()}
    both = [DELTA, "manifest.json", DATA]
    assert kept == {"1.11": both[:2], "1.12": both, "1.13": both}


def test_without_deltas_only_the_newest_versions_are_kept(
    spool: Callable[..., WeightSpool], tmp_path: Path
) -> None:
    keeper = spool(chain=0)
    for step in (8, 9, 10, 11):
        keeper.write(version(step), weights(step).items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.10", "1.11"]
    assert not list(tmp_path.rglob(DELTA))


def test_the_next_incarnation_continues_the_chain(
    spool: Callable[..., WeightSpool],
) -> None:
    spool().write(version(7), weights(7).items())
    manifest = spool().write(version(5, incarnation=2), weights(5).items())
    assert [one.parent for one in manifest.deltas] == [version(7)]


def test_a_version_stays_though_an_older_run_left_higher_ones(
    spool: Callable[..., WeightSpool], tmp_path: Path
) -> None:
    for step in (8, 9):
        spool().write(version(step), weights(step).items())
        for file in (tmp_path / f"1.{step}").iterdir():
            os.utime(file, (step, step))
    manifest = spool().write(version(0), weights(0).items())
    assert manifest.deltas == (), "a step of 0 is whole"
    manifest = spool().write(version(1), weights(1).items())
    assert [one.parent for one in manifest.deltas] == [version(0)]
    assert (tmp_path / "1.0" / DATA).is_file() and (tmp_path / "1.1" / DATA).is_file()
    assert not (tmp_path / "1.9").exists()


@pytest.mark.parametrize(
    ("what", "settings", "after"),
    [
        ("its turn", {"full_every": 2}, weights(2)),
        ("another shape", {}, weights(2, size=12_000)),
        ("other buckets", {"bucket_bytes": 8192}, weights(2)),
        ("everything changed", {}, {k: torch.rand_like(v) for k, v in weights(2).items()}),
    ],
)
def test_no_delta_where_it_would_be_wrong_or_of_no_use(
    spool: Callable[..., WeightSpool],
    tmp_path: Path,
    what: str,
    settings: dict[str, int],
    after: dict[str, torch.Tensor],
) -> None:
    spool().write(version(1), weights(1).items())
    manifest = spool(**settings).write(version(2), after.items())
    assert manifest.deltas == (), what
    assert not (tmp_path / "1.2" / DELTA).exists()
