"""Two real DeepSpeed ranks of unequal work against one plain computation of all groups at once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForImageTextToText

from perl_rl.demo.model import build_model, build_processor, save
from services.trainer.compute.features import BatchFeatures
from services.trainer.compute.loss import LossSums, normaliser, policy_loss
from services.trainer.compute.model import GroupModel
from services.trainer.compute.packing import PreparedGroup, pack
from shared.config import Config
from tests.family_models import save_family
from tests.integration.training_probe import minibatches
from tests.scripted_sampler import demo_config

RANKS = 2
CASES = {
    "0": ["trainer.zero_stage=0"],
    "1": ["trainer.zero_stage=1"],
    "2": ["trainer.zero_stage=2"],
    "3": ["trainer.zero_stage=3"],
    "2-offload": ["trainer.zero_stage=2", "trainer.optimizer.offload=true"],
    "3-offload": ["trainer.zero_stage=3", "trainer.optimizer.offload=true"],
    "1-bf16": ["trainer.zero_stage=1", "model.dtype=bfloat16"],
    "2-bf16": ["trainer.zero_stage=2", "model.dtype=bfloat16"],
    "3-bf16": ["trainer.zero_stage=3", "model.dtype=bfloat16"],
    "3-replicated": ["trainer.zero_stage=3", "trainer.packing=replicated"],
    "2-qwen2_vl": ["trainer.zero_stage=2"],
    "3-qwen2_vl": ["trainer.zero_stage=3"],
    "2-qwen3_vl": ["trainer.zero_stage=2"],
    "3-qwen3_vl": ["trainer.zero_stage=3"],
}
LAYERS = {"demo": (4, 2), "qwen2_vl": (4, 4), "qwen3_vl": (4, 4)}
"""Of each model: layers of its language model, and of its vision tower."""
BUDGET = 60
LARGE_CHUNKS = 3
TIMEOUT_S = 400.0


def model_of(case: str) -> str:
    """The demo's model, or the tiny one of a family."""
    return next((name for name in LAYERS if case.endswith(name)), "demo")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each model."""
    folder = tmp_path_factory.mktemp("passes")
    processor = build_processor()
    save(build_model(processor, seed=0), processor, folder / "demo")
    families = [name for name in LAYERS if name != "demo"]
    return {"demo": folder / "demo"} | {one: save_family(one, folder / one) for one in families}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run's settings; weights do not move, so all updates start alike."""
    folder = tmp_path_factory.mktemp("settings")
    return demo_config(
        folder,
        "redis://127.0.0.1:1/0",
        ranks=RANKS,
        micro_batch_tokens=BUDGET,
        gradient_checkpointing=True,
        optimizer={"learning_rate": 1e-12},
        objective={"kl_coef": 0.0},
    )


@pytest.fixture(scope="module")
def trained(
    settings: dict[str, Any],
    models: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder with what the ranks left."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    cases = {
        case: [*overrides, f"model.path={models[model_of(case)]}"]
        for case, overrides in CASES.items()
    }
    (folder / "cases.json").write_text(json.dumps(cases))
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *(f"--nproc-per-node={RANKS}", "-m", "tests.integration.training_probe"),
            str(folder),
        ],
        check=True,
        timeout=TIMEOUT_S,
    )
    return folder


Plain = tuple[list[dict[str, torch.Tensor]], LossSums]


@pytest.fixture(scope="module")
def plain(settings: dict[str, Any], models: dict[str, Path]) -> dict[str, Plain]:
    """For each model the gradients of two updates, each of all ranks' groups in one pass."""
    return {name: _plain(Config.model_validate(settings), models[name]) for name in LAYERS}


def _plain(config: Config, folder: Path) -> Plain:
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    by_rank = [minibatches(model, rank) for rank in range(RANKS)]
    sums = LossSums()
    updates = [
        [one for groups in update for one in groups] for update in zip(*by_rank, strict=True)
    ]
    return [_gradients(model, groups, config, sums) for groups in updates], sums


def _gradients(
    model: Any, groups: list[PreparedGroup], config: Config, sums: LossSums
) -> dict[str, torch.Tensor]:
    (batch,) = pack(groups, 1_000_000)
    (chunk,) = batch.chunks
    logprobs = GroupModel(model, config.sampling.temperature)(chunk, BatchFeatures(batch))
    objective, answers = config.trainer.objective, chunk.responses
    loss, figures = policy_loss(logprobs, None, answers, objective, config.sampling.max_tokens)
    sums.add(figures)
    divisor = normaliser(len(answers.lengths), len(answers.response), objective)
    model.zero_grad()
    (loss / divisor).backward()
    return {name: one.grad.clone() for name, one in model.named_parameters()}


@pytest.mark.parametrize("case", CASES)
def test_chunks_on_two_ranks_give_the_gradients_of_one_pass(
    case: str, trained: Path, plain: dict[str, Plain]
) -> None:
    expected, sums = plain[model_of(case)]
    found = torch.load(trained / f"{case}.pt")
    rounding = 5e-2 if "bf16" in case else 2e-4

    assert found["sums"]["loss"] == pytest.approx(sums.loss, rel=rounding)
    assert found["sums"]["tokens"] == sums.tokens
    for ours, theirs in zip(found["gradients"], expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, gradient in theirs.items():
            atol = rounding * gradient.abs().max().item()
            torch.testing.assert_close(
                ours[name], gradient, atol=atol, rtol=0, msg=lambda said, of=name: f"{of}: {said}"
            )


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("bf16")])
def test_gradients_of_bf16_weights_are_accumulated_and_reduced_in_fp32(
    case: str, trained: Path
) -> None:
    types = torch.load(trained / f"{case}.pt")["types"]

    assert types == [torch.bfloat16, torch.float32, torch.float32]


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_can_be_resumed(case: str, trained: Path) -> None:
    assert torch.load(trained / f"{case}.pt")["resumed"]


@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("replicated")])
def test_every_layer_is_checkpointed_from_the_first_pass(case: str, trained: Path) -> None:
    calls = torch.load(trained / f"{case}.pt")["calls"]

    language, vision = LAYERS[model_of(case)]
    # Per update: the large group's chunks, and one of the small group; each is computed again.
    passes = 2 * (LARGE_CHUNKS + 1)
    assert _of_kind(calls, "DecoderLayer") == 2 * passes * language
    # Each batch's images, and one picture of one token for the batch of several chunks.
    assert _of_kind(calls, "VisionBlock") == 2 * 2 * 3 * vision


def _of_kind(calls: dict[str, int], ending: str) -> int:
    [number] = [count for name, count in calls.items() if name.endswith(ending)]
    return number
