"""Adapters on two real DeepSpeed ranks against one plain computation with a second model."""

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
from services.trainer.compute.adapter_names import peft_name
from services.trainer.compute.features import BatchFeatures
from services.trainer.compute.lora import add_adapter
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
}
ROUNDING = 2e-3
_WHOLE = "mp_rank_00_model_states.pt"
TIMEOUT_S = 300.0


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("lora")
    processor = build_processor()
    save(build_model(processor, seed=0), processor, folder / "model")
    settings = demo_config(
        folder,
        "redis://127.0.0.1:1/0",
        ranks=RANKS,
        micro_batch_tokens=60,
        gradient_checkpointing=True,
        optimizer={"learning_rate": 1e-2, "grad_clip": 1e9, "weight_decay": 0.0},
        objective={"kl_coef": 0.1},
    )
    settings["model"]["lora"] = {"rank": 4, "vision": True, "targets": ["q_proj", "mlp.*"]}
    return settings


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
    """The gradients of two updates of all ranks' groups, each in one pass, and their sums."""
    config = Config.model_validate(settings)
    model, start = (
        AutoModelForImageTextToText.from_pretrained(config.model.path, dtype=torch.float32)
        for _ in range(2)
    )
    add_adapter(model, config)
    adapter = {name: one for name, one in model.named_parameters() if one.requires_grad}
    rate = config.trainer.optimizer.learning_rate
    optimizer = torch.optim.AdamW(adapter.values(), lr=rate, weight_decay=0.0)
    by_rank = [minibatches(model, rank) for rank in range(RANKS)]
    sums, found = LossSums(), []
    for number, update in enumerate(zip(*by_rank, strict=True)):
        groups = [one for groups in update for one in groups]
        loss = _loss(model, start, groups, config, sums, first=number == 0)
        optimizer.zero_grad()
        loss.backward()
        found.append({name: one.grad.clone() for name, one in adapter.items()})
        optimizer.step()
    return found, sums


def _loss(
    model: Any, start: Any, groups: list[PreparedGroup], config: Config, sums: LossSums, first: bool
) -> torch.Tensor:
    (batch,) = pack(groups, 1_000_000)
    (chunk,) = batch.chunks
    temperature = config.sampling.temperature
    logprobs = GroupModel(model, temperature)(chunk, BatchFeatures(batch))
    with torch.no_grad():
        reference = GroupModel(start, temperature)(chunk, BatchFeatures(batch))
    objective, answers = config.trainer.objective, chunk.responses
    loss, figures = policy_loss(logprobs, reference, answers, objective, config.sampling.max_tokens)
    sums.add(figures)
    return loss / normaliser(len(answers.lengths), len(answers.response), objective)


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_on_two_ranks_is_trained_as_in_one_pass_with_a_second_model(
    case: str, trained: Path, plain: tuple[list[dict[str, torch.Tensor]], LossSums]
) -> None:
    expected, sums = plain
    found = torch.load(trained / f"{case}.pt")

    assert sums.kl > 1e-3, "the second update is away from the start model"
    assert found["sums"]["kl"] == pytest.approx(sums.kl, rel=ROUNDING)
    assert found["sums"]["loss"] == pytest.approx(sums.loss, rel=ROUNDING)
    for ours, theirs in zip(found["gradients"], expected, strict=True):
        assert ours.keys() == theirs.keys(), "only the adapter has gradients"
        for name, gradient in theirs.items():
            atol = ROUNDING * gradient.abs().max().item() + 1e-9
            torch.testing.assert_close(
                ours[name], gradient, atol=atol, rtol=0, msg=lambda said, of=name: f"{of}: {said}"
            )


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_of_an_adapter_gives_it_back_and_holds_nothing_else(
    case: str,
    trained: Path,
    plain: tuple[list[dict[str, torch.Tensor]], LossSums],
) -> None:
    found = torch.load(trained / f"{case}.pt")
    written = sum(file.stat().st_size for file in (trained / case).rglob("*") if file.is_file())

    assert found["resumed"]
    assert found["parameters"].keys() == {peft_name(name) for name in plain[0][0]}
    moved = [one for name, one in found["parameters"].items() if ".lora_B." in name]
    assert all(one.abs().max() > 1e-3 for one in moved)
    for name, one in found["parameters"].items():
        assert torch.equal(found["resumed_parameters"][name], one), name
    adapter = sum(one.nbytes for one in found["parameters"].values())
    assert written < 6 * adapter
    file = "zero_pp_rank_0_mp_rank_00_model_states.pt" if case == "3" else _WHOLE
    module = torch.load(trained / case / "engine" / file, weights_only=True)["module"]
    assert {peft_name(name.removeprefix("model.")) for name in module} == found["parameters"].keys()
