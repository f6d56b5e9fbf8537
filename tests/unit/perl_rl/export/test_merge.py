"""An adapter becomes whole weights where an engine, or a user, wants them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from perl_rl.eval.models import engine_config
from perl_rl.export.merge import whole_model
from services.trainer.compute.adapter_names import peft_name
from services.trainer.compute.lora import add_adapter, save_adapter
from shared.config import Config
from shared.errors import UserError
from shared.weights.manifest import ADAPTER_FILE
from tests.paths import START_MODEL


@pytest.fixture
def config() -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": START_MODEL, "dtype": "float32", "lora": {"rank": 2}},
            "data": {"train": "t"},
            "trainer": {},
        }
    )


@pytest.fixture
def adapter(config: Config, tmp_path: Path) -> Path:
    """A folder as a run leaves it, with an adapter that is not zero."""
    model = AutoModelForImageTextToText.from_pretrained(START_MODEL, dtype=torch.float32)
    add_adapter(model, config)
    tensors = {
        peft_name(name): torch.full_like(one, 0.01)
        for name, one in model.named_parameters()
        if one.requires_grad
    }
    save_adapter(tmp_path / "policy", config, tensors)
    AutoProcessor.from_pretrained(START_MODEL).save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


def test_an_adapter_is_whole_for_as_long_as_it_is_needed(config: Config, adapter: Path) -> None:
    start = load_file(START_MODEL / "model.safetensors")
    with whole_model(config, adapter) as folder:
        found = load_file(folder / "model.safetensors")
        assert not (folder / ADAPTER_FILE).exists()
        AutoProcessor.from_pretrained(folder)
    assert not folder.exists()
    assert found.keys() == start.keys()
    changed = 0
    for name, weight in start.items():
        delta = found[name] - weight.float()
        if name.endswith("_proj.weight") and "visual" not in name:
            # alpha / rank is 16, and each product of two rows of 0.01 is 2e-4.
            torch.testing.assert_close(delta, torch.full_like(delta, 3.2e-3), atol=1e-6, rtol=0)
            changed += 1
        else:
            assert not delta.any(), name
    assert changed == 4 * 7


def test_a_whole_model_is_taken_as_it_is(config: Config) -> None:
    with whole_model(config, START_MODEL) as folder:
        assert folder == START_MODEL


def test_an_evaluation_of_an_adapter_says_what_to_do(adapter: Path) -> None:
    with pytest.raises(UserError, match=r"--model .*: holds an adapter, and no whole model; write"):
        engine_config(adapter, [])
