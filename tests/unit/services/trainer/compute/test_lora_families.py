"""Adapters of every family: they end up in the weights that the sampler loads, under its names."""

from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from perl_rl.launch.model_size import model_size
from services.rollout.weights.fetched import FetchedVersion
from services.rollout.weights.loader import mapped_tensors
from services.rollout.weights.merged import Merger
from services.trainer.compute.adapter_names import peft_name
from services.trainer.compute.lora import adapter_of, add_adapter
from services.trainer.rank.publishers.spool import WeightSpool
from shared.config import Config
from shared.weights.manifest import DATA_FILE, MANIFEST_FILE, Manifest
from shared.wire.messages import PolicyVersion
from tests.family_models import SIZES, save_family

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

VERSION = PolicyVersion(incarnation=1, step=1)


def config(base: Path) -> Config:
    lora = {"rank": 4, "vision": True, "targets": ["*"]}
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": base, "lora": lora},
            "data": {"train": "t"},
            "trainer": {},
        }
    )


@pytest.mark.parametrize("family", SIZES)
async def test_a_published_adapter_is_merged_into_the_weights_of_the_start_model(
    tmp_path: Path, family: str
) -> None:
    base = save_family(family, tmp_path / "model")
    settings, start = config(base), load_file(base / "model.safetensors")
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    add_adapter(model, settings)
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    # What check and plan count is what is trained.
    counted = sum(one.numel() for one in trained.values())
    assert model_size(base, settings.model.lora).adapter == counted
    for one in trained.values():
        torch.nn.init.normal_(one, std=0.1)
    tensors = {peft_name(name): one.detach() for name, one in trained.items()}
    spool = WeightSpool(tmp_path / "w", 1 << 20, keep=1, adapter=adapter_of(settings))
    spool.write(VERSION, tensors.items())

    at, merger = tmp_path / "w" / str(VERSION), Merger(base, "float32")
    files = await merger.whole(FetchedVersion(VERSION, at / MANIFEST_FILE, at / DATA_FILE))
    manifest = Manifest.model_validate_json(files.manifest.read_text())
    found = {name: one.clone() for name, one in mapped_tensors(manifest, files.data)}
    merger.close()
    assert found.keys() == start.keys()
    changed = [name for name in start if not torch.equal(found[name], start[name].float())]
    assert len(changed) == len(trained) / 2

    # peft adds its own adapter; transformers writes the names that its release writes.
    for module in model.modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            module.merge()
    merged = {
        name.replace(".base_layer", ""): one
        for name, one in model.named_parameters()
        if ".lora_" not in name
    }
    plain = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    plain.load_state_dict(merged, strict=False)
    plain.save_pretrained(tmp_path / "merged")
    exact = load_file(tmp_path / "merged" / "model.safetensors")
    assert exact.keys() == found.keys()
    for name, weight in exact.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-5)
