"""A node adds each version's adapter to its own start model, never to the version before."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.rollout.weights.fetched import FetchedVersion
from services.rollout.weights.loader import mapped_tensors
from services.rollout.weights.merged import Merger
from services.trainer.rank.publishers.spool import WeightSpool
from shared.errors import UserError
from shared.model_identity import model_digest
from shared.weights.manifest import (
    DATA_FILE,
    MANIFEST_FILE,
    Adapter,
    CorruptWeights,
    Manifest,
    TensorDtype,
)
from shared.wire.messages import PolicyVersion
from tests.paths import START_MODEL

pytestmark = pytest.mark.anyio

LAYER = "model.language_model.layers.2.mlp.up_proj"
BLOCK = "model.visual.blocks.0.attn.qkv"
RANK, ALPHA = 4, 6


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Path(shutil.copytree(START_MODEL, tmp_path / "base"))


def in_file(layer: str) -> str:
    """The layer's name in the start model's file, which begins as older releases begin it."""
    older = layer.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
    return f"{older}.weight"


def halves(layer: str, base: Path, seed: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    weight = load_file(base / "model.safetensors")[in_file(layer)]
    shapes = {"A": (RANK, weight.shape[1]), "B": (weight.shape[0], RANK)}
    return {
        f"base_model.model.{layer}.lora_{half}.weight": torch.randn(
            *shape, generator=rng, dtype=torch.float32
        ).to(dtype)
        for half, shape in shapes.items()
    }


def published(
    folder: Path, step: int, tensors: dict[str, torch.Tensor], adapter: Adapter | None
) -> FetchedVersion:
    version = PolicyVersion(incarnation=1, step=step)
    WeightSpool(folder, 1 << 20, keep=5, adapter=adapter).write(version, tensors.items())
    at = folder / str(version)
    return FetchedVersion(version, at / MANIFEST_FILE, at / DATA_FILE)


def read(files: FetchedVersion) -> tuple[Manifest, dict[str, torch.Tensor]]:
    manifest = Manifest.model_validate_json(files.manifest.read_text())
    return manifest, {name: one.clone() for name, one in mapped_tensors(manifest, files.data)}


def expected(base: Path, layer: str, pair: dict[str, torch.Tensor]) -> torch.Tensor:
    down, up = (pair[f"base_model.model.{layer}.lora_{half}.weight"].double() for half in "AB")
    weight = load_file(base / "model.safetensors")[in_file(layer)].double()
    return weight + ALPHA / RANK * up @ down


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-6), ("bfloat16", 2**-8)])
async def test_each_version_is_the_start_model_with_that_versions_adapter(
    base: Path, tmp_path: Path, dtype: TensorDtype, rounding: float
) -> None:
    merger, number = Merger(base, dtype), getattr(torch, dtype)
    adapter = Adapter(base=model_digest(base), rank=RANK, alpha=ALPHA)
    start = load_file(base / "model.safetensors")
    for step in range(3):
        pairs = {in_file(one): halves(one, base, step, number) for one in (LAYER, BLOCK)}
        tensors = pairs[in_file(LAYER)] | pairs[in_file(BLOCK)]
        files = await merger.whole(published(tmp_path / "w", step, tensors, adapter))
        manifest, found = read(files)

        assert files.version == manifest.version == PolicyVersion(incarnation=1, step=step)
        assert found.keys() == start.keys()
        assert {one.dtype for one in found.values()} == {number}
        for name, weight in start.items():
            if name in pairs:
                layer = next(one for one in (LAYER, BLOCK) if in_file(one) == name)
                exact = expected(base, layer, pairs[name])
                torch.testing.assert_close(found[name].double(), exact, rtol=rounding, atol=1e-6)
                assert not torch.allclose(found[name].double(), weight.double(), atol=0.1)
            else:
                assert torch.equal(found[name], weight.to(number)), name
    merger.close()
    assert not files.data.exists()


async def test_names_of_newer_weight_files_are_understood(base: Path, tmp_path: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    pairs = halves(LAYER, base, 1, torch.float32) | halves(BLOCK, base, 1, torch.float32)
    exact = {layer: expected(base, layer, pairs) for layer in (LAYER, BLOCK)}
    newer = {
        name.replace("visual.", "model.visual.")
        if name.startswith("visual.")
        else name.replace("model.", "model.language_model.", 1): one
        for name, one in tensors.items()
    }
    save_file(newer, base / "model.safetensors", metadata={"format": "pt"})
    adapter = Adapter(base=model_digest(base), rank=RANK, alpha=ALPHA)
    merger = Merger(base, "float32")
    _, found = read(await merger.whole(published(tmp_path / "w", 1, pairs, adapter)))
    merger.close()

    assert found.keys() == newer.keys()
    for layer, one in exact.items():
        torch.testing.assert_close(found[f"{layer}.weight"].double(), one, rtol=1e-6, atol=1e-6)


async def test_whole_weights_pass_as_they_are(base: Path, tmp_path: Path) -> None:
    version = published(tmp_path / "w", 1, {"a": torch.ones(2)}, None)
    assert await Merger(base, "float32").whole(version) is version


async def test_an_adapter_of_another_model_or_number_type_is_refused(
    base: Path, tmp_path: Path
) -> None:
    pair = halves(LAYER, base, 1, torch.float32)
    adapter = Adapter(base=model_digest(base), rank=RANK, alpha=ALPHA)
    version = published(tmp_path / "w", 1, pair, adapter)
    with pytest.raises(UserError, match=r"weights 1\.1 are float32, and this node's engine comput"):
        await Merger(base, "bfloat16").whole(version)

    (base / "generation_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"an adapter of another model than model\.path .*base: "):
        await Merger(base, "float32").whole(version)


@pytest.mark.parametrize(
    ("renamed", "said"),
    [
        ((".up_proj.", ".side_proj."), "layer model.language_model.layers.2.mlp.side_proj.weight "),
        ((".lora_A.weight", ".magnitude"), "magnitude' is no adapter's tensor"),
        (("base_model.model.", ""), "is no adapter's tensor"),
    ],
)
async def test_an_adapter_that_does_not_fit_is_refused(
    base: Path, tmp_path: Path, renamed: tuple[str, str], said: str
) -> None:
    pair = halves(LAYER, base, 1, torch.float32)
    other = {name.replace(*renamed): one for name, one in pair.items()}
    adapter = Adapter(base=model_digest(base), rank=RANK, alpha=ALPHA)
    merger = Merger(base, "float32")
    with pytest.raises(CorruptWeights, match=said):
        await merger.whole(published(tmp_path / "w", 1, other, adapter))
    merger.close()


async def test_an_adapter_of_another_rank_is_refused_and_the_next_version_is_whole(
    base: Path, tmp_path: Path
) -> None:
    pairs = halves(LAYER, base, 1, torch.float32) | halves(BLOCK, base, 1, torch.float32)
    adapter = Adapter(base=model_digest(base), rank=RANK, alpha=ALPHA)
    other = adapter.model_copy(update={"rank": RANK + 1})
    merger = Merger(base, "float32")
    await merger.whole(published(tmp_path / "w", 1, pairs, adapter))
    with pytest.raises(CorruptWeights, match=r"\(.*, 4\) by \(4, .*\) does not fit .* and rank 5"):
        await merger.whole(published(tmp_path / "w", 2, pairs, other))

    only_one = halves(BLOCK, base, 2, torch.float32)
    _, found = read(await merger.whole(published(tmp_path / "w", 3, only_one, adapter)))
    merger.close()
    start = load_file(base / "model.safetensors")
    assert torch.equal(found[in_file(LAYER)], start[in_file(LAYER)].float())
    torch.testing.assert_close(
        found[in_file(BLOCK)].double(), expected(base, BLOCK, only_one), rtol=1e-6, atol=1e-6
    )


async def test_half_an_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    pair = halves(LAYER, base, 1, torch.float32)
    pair.popitem()
    adapter = Adapter(base=model_digest(base), rank=RANK, alpha=ALPHA)
    with pytest.raises(CorruptWeights, match="is half"):
        await Merger(base, "float32").whole(published(tmp_path / "w", 1, pair, adapter))
