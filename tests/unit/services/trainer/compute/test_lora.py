"""Adapters in the trainer's model: where they are, what they compute, how they are written."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForImageTextToText

from perl_rl.demo.model import build_model, build_processor
from services.trainer.compute.adapter_names import peft_name
from services.trainer.compute.features import BatchFeatures
from services.trainer.compute.lora import WithoutAdapter, adapter_of, add_adapter, save_adapter
from services.trainer.compute.model import GroupModel
from services.trainer.compute.packing import PackedBatch, pack
from shared.config import Config
from shared.errors import UserError
from shared.families import FAMILIES
from shared.model_identity import model_digest
from shared.weights.manifest import ADAPTER_FILE
from tests.family_models import family_model
from tests.paths import START_MODEL
from tests.prepared_groups import prepared_group

TEMPERATURE = 0.8


def config(**lora: Any) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "seed": 3,
            "model": {"path": START_MODEL, "lora": lora},
            "data": {"train": "t"},
            "trainer": {},
        }
    )


def start_model() -> Any:
    return build_model(build_processor(), seed=0).float()


def adapted(settings: Config, start: Any = None) -> Any:
    """A model whose adapter changes its answers; without `start`, the demo's."""
    model = start_model() if start is None else start
    add_adapter(model, settings)
    rng = torch.Generator().manual_seed(5)
    for name, one in trained(model).items():
        if "lora_B" in name:
            one.data.normal_(0, 0.05, generator=rng)
    return model


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def batches(model: Any, budget: int) -> list[PackedBatch]:
    rng = torch.Generator().manual_seed(1)
    group = prepared_group(model, rng, (3, [(0, 1, 2), (2, 0, 1)]), responses=[1, 7, 4])
    return pack([group], budget)


def passed(model: Any, found: list[PackedBatch], trains_vision: bool) -> torch.Tensor:
    """Log-probabilities of all chunks; leaves the gradients of their weighted sum."""
    policy, logprobs = GroupModel(model, TEMPERATURE, freeze_vision=not trains_vision), []
    for batch in found:
        features = BatchFeatures(batch)
        for chunk in batch.chunks:
            last = chunk is batch.chunks[-1]
            one = policy(chunk, features, last)
            loss = (one * torch.arange(1.0, len(one) + 1)).sum()
            (loss + features.carried() if last else loss).backward()
            logprobs.append(one.detach())
    return torch.cat(logprobs)


def merged_by_hand(model: Any, settings: Config, plain: Any) -> Any:
    """The start model `plain` with ``W + alpha / rank * B @ A`` in place of each adapted layer."""
    lora = settings.model.lora
    assert lora is not None
    tensors = {peft_name(name): one.data for name, one in trained(model).items()}
    for name in tensors:
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        if layer != name.removeprefix("base_model.model."):
            both = (tensors[name.replace("lora_A", "lora_B")], tensors[name])
            weight = plain.get_submodule(layer).weight.data
            weight += lora.alpha / lora.rank * both[0] @ both[1]
    return plain


@pytest.mark.parametrize("vision", [False, True])
@pytest.mark.parametrize("budget", [10_000, 40])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_chunks_with_an_adapter_equal_a_model_with_merged_weights(
    family: str, vision: bool, budget: int
) -> None:
    settings = config(rank=4, alpha=6, targets=["q_proj", "mlp.*"], vision=vision)
    model = adapted(settings, family_model(family))

    found = passed(model, batches(model, budget), vision)

    plain = merged_by_hand(model, settings, family_model(family))
    torch.testing.assert_close(
        found, passed(plain, batches(plain, budget), vision), atol=1e-4, rtol=0
    )
    one, whole = "model.language_model.layers.1.self_attn.q_proj", plain.get_parameter
    down, up = (trained(model)[f"{one}.lora_{half}.default.weight"] for half in "AB")
    gradient = whole(f"{one}.weight").grad
    torch.testing.assert_close(up.grad, 1.5 * gradient @ down.T, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(down.grad, 1.5 * up.T @ gradient, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("vision", [False, True])
def test_only_the_adapter_has_gradients(vision: bool) -> None:
    model = adapted(config(vision=vision))
    passed(model, batches(model, 40), vision)

    with_gradient = {name for name, one in model.named_parameters() if one.grad is not None}
    assert with_gradient == trained(model).keys()
    assert all(".lora_" in name for name in with_gradient)
    assert any("visual" in name for name in with_gradient) == vision


def test_the_reference_is_the_start_model_and_the_policy_is_itself_again() -> None:
    model, start = adapted(config()), start_model()
    policy = GroupModel(model, TEMPERATURE)
    (batch,) = batches(model, 10_000)
    (chunk,) = batch.chunks
    with torch.no_grad():
        before = policy(chunk, BatchFeatures(batch))
        reference = WithoutAdapter(_Engine(policy))(chunk, BatchFeatures(batch))
        expected = GroupModel(start, TEMPERATURE)(chunk, BatchFeatures(batch))
        after = policy(chunk, BatchFeatures(batch))
    assert torch.equal(reference, expected)
    assert torch.equal(before, after)
    assert (before - reference).abs().mean() > 1e-3
    assert trained(model)


class _Engine:
    """What `WithoutAdapter` needs of DeepSpeed's engine."""

    def __init__(self, policy: GroupModel) -> None:
        self.module = policy

    def __call__(self, *inputs: Any) -> torch.Tensor:
        return self.module(*inputs)


def test_every_rank_draws_the_same_adapter_and_what_it_draws_next_is_its_own() -> None:
    drawn = []
    for seed in (1, 2):
        model = start_model()
        torch.manual_seed(seed)
        add_adapter(model, config())
        drawn.append((trained(model), torch.rand(())))
    (first, one), (second, other) = drawn
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert one != other


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (
            {"targets": ["q_proj", "qkv"]},
            "model.lora.targets: 'qkv' is the name of no linear layer of the language model "
            "(model.lora.vision); there are mlp.down_proj, mlp.gate_proj, mlp.up_proj, "
            "self_attn.k_proj, self_attn.o_proj, self_attn.q_proj, self_attn.v_proj",
        ),
        (
            {"targets": ["lm_head"], "vision": True},
            "'lm_head' is the name of no linear layer ",
        ),
    ],
)
def test_a_target_that_matches_nothing_is_refused_with_what_there_is(
    lora: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refused:
        add_adapter(start_model(), config(**lora))
    assert said in str(refused.value)


def test_with_vision_a_target_is_looked_for_in_the_tower_too() -> None:
    model = start_model()
    add_adapter(model, config(targets=["qkv", "o_proj"], vision=True))
    layers = {name.split(".lora_")[0] for name in trained(model)}
    assert "model.visual.blocks.1.attn.qkv" in layers
    assert "model.language_model.layers.3.self_attn.o_proj" in layers
    assert len(layers) == 2 + 4


def test_a_written_adapter_is_loaded_by_transformers_and_by_peft(tmp_path: Path) -> None:
    settings = config(rank=8, targets=["o_proj"])
    base = AutoModelForImageTextToText.from_pretrained(START_MODEL, dtype=torch.float32)
    add_adapter(base, settings)
    for number, one in enumerate(trained(base).values()):
        one.data.fill_(0.01 * (number + 1))
    tensors = {peft_name(name): one.detach() for name, one in trained(base).items()}
    save_adapter(tmp_path, settings, tensors)

    assert load_file(tmp_path / ADAPTER_FILE).keys() == tensors.keys()
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32)
    plain = AutoModelForImageTextToText.from_pretrained(START_MODEL, dtype=torch.float32)
    by_peft = peft.PeftModel.from_pretrained(plain, tmp_path)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected, *others = (model(input_ids=ids).logits for model in (base, again, by_peft))
    for other in others:
        torch.testing.assert_close(other, expected)
    described = adapter_of(settings)
    assert described is not None
    assert (described.rank, described.alpha) == (8, 32)
    assert described.base == model_digest(START_MODEL)
