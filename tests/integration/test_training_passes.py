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
}
BUDGET = 60
LARGE_CHUNKS = 3
TIMEOUT_S = 400.0


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run's settings beside its model; weights do not move, so all updates start alike."""
    folder = tmp_path_factory.mktemp("passes")
    processor = build_processor()
    save(build_model(processor, seed=0), processor, folder / "model")
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
def trained(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what the ranks left."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "cases.json").write_text(json.dumps(CASES))
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


@pytest.fixture(scope="module")
def plain(settings: dict[str, Any]) -> tuple[list[dict[str, torch.Tensor]], LossSums]:
    """The gradients of two updates, each of all ranks' groups in one pass."""
    config = Config.model_validate(settings)
    model = AutoModelForImageTextToText.from_pretrained(config.model.path, dtype=torch.float32)
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
    case: str, trained: Path, plain: tuple[list[dict[str, torch.Tensor]], LossSums]
) -> None:
    expected, sums = plain
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


@pytest.mark.parametrize("case", CASES)
def test_every_layer_is_checkpointed_from_the_first_pass(case: str, trained: Path) -> None:
    calls = torch.load(trained / f"{case}.pt")["calls"]

    # Per update: the large group's chunks, and one of the small group; each is computed again.
    passes = 2 * (LARGE_CHUNKS + 1)
    assert calls["Qwen2_5_VLDecoderLayer"] == 2 * passes * 4
    # Each batch's images, and one picture of one token for the batch of several chunks.
    assert calls["Qwen2_5_VLVisionBlock"] == 2 * 2 * 3 * 2
