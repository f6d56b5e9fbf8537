"""The plan of a rank's memory agrees with what the ranks of a small run really hold."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from perl_rl.plan.parts import Need
from perl_rl.plan.shape import read_shape
from perl_rl.plan.trainer import Chunk, rank_need
from services.trainer.compute.deepspeed_engine import deepspeed_config
from shared.config import Config, load_config
from tests.family_models import SIZES, save_family
from tests.paths import ROOT

BOUND = 0.10
SIZE = {"images": 2, "patches": 16, "text": 100, "responses": [150, 150, 150]}
ROW = 2 * 64 + 100 + 3 * 150
CHUNK = Chunk(tokens=2 * ROW, row=ROW, responses=2 * 3 * 150, patches=2 * 16 * 16)

CONFIG = """
run: r
model: {path: model, dtype: bfloat16}
data: {train: t}
sampling: {max_tokens: 512}
trainer: {groups_per_step: 2, micro_batch_tokens: 2000, attention: sdpa}
"""
"""Each group is a batch: in the second one's passes, the first one's gradients are there."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with a model that is large beside DeepSpeed's small change."""
    return write(tmp_path_factory.mktemp("plan"), "qwen2_5_vl")


def write(folder: Path, family: str) -> Path:
    """The configuration, and beside it such a model of a family."""
    save_family(family, folder / "model")
    sizes = AutoConfig.from_pretrained(folder / "model")
    text, vision = sizes.text_config, sizes.vision_config
    text.hidden_size, text.intermediate_size, text.vocab_size = 512, 1408, 2048
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 8, 2, 64
    text.num_hidden_layers, text.layer_types = 3, ["full_attention"] * 3
    text.rope_parameters["mrope_section"] = [8, 12, 12]
    vision.depth, vision.num_heads = 2, 4
    if family == "qwen2_vl":
        vision.embed_dim, vision.hidden_size = 256, 512
    else:
        vision.hidden_size, vision.intermediate_size, vision.out_hidden_size = 256, 512, 512
    if family == "qwen2_5_vl":
        vision.fullatt_block_indexes, vision.window_size = [1], 112
    if family == "qwen3_vl":
        vision.deepstack_visual_indexes = [0]
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(sizes, dtype=torch.bfloat16)
    model.save_pretrained(folder / "model")
    (folder / "config.yaml").write_text(CONFIG)
    return folder / "config.yaml"


def measured(file: Path, ranks: int, overrides: list[str]) -> dict[str, float]:
    """What rank 0 holds at each moment of a step."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={ranks}", "-m", "tests.integration.memory_probe"]
    command += [str(file), json.dumps(SIZE), *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout[done.stdout.index('{"') :].splitlines()[0]))


BUFFERS = ("gradient bucket", "gathered parameters", "gradients on their way")


def compared(config: Config, need: Need, found: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Planned and measured bytes of each part, without the bucket of gradients.

    At this size the bucket is far larger than all else, and it is known exactly.
    """
    sharded = config.trainer.zero_stage == 3
    always = need.held.get("gradient bucket", 0.0)
    bucket = always + need.kept.get("gradient bucket", 0.0)
    whole, gradients = sum(need.held.values()) - always, need.held["gradients"]
    kept = sum(size for name, size in need.kept.items() if name not in BUFFERS)
    computing = sum(need.computing.values()) - (bucket - always)
    pixels = found["pixels"]
    # Between steps, ZeRO 3 keeps the gradients' memory and the others free it.
    between = found["after step"] - pixels - always
    before = 0 if sharded else found["after backward"] - found["after step"] - pixels
    return {
        "weights, reference, AdamW": (whole - gradients, between - gradients * sharded),
        "gradients and these": (whole, between + before),
        "activations": (kept, found["after forward"] - found["before forward"] + pixels),
        "backward pass": (whole + computing, found["peak until after backward"] - bucket),
        "optimizer's step": (
            whole + need.step,
            found["peak until after step"] - 2 * pixels - always,
        ),
    }


@pytest.mark.parametrize(
    ("ranks", "overrides"),
    [
        (1, ["trainer.zero_stage=2", "trainer.gradient_checkpointing=true"]),
        (2, ["trainer.zero_stage=2", "trainer.gradient_checkpointing=false"]),
        (2, ["trainer.zero_stage=3", "trainer.gradient_checkpointing=true"]),
        (2, ["trainer.zero_stage=3", "model.dtype=float32", "trainer.objective.kl_coef=0"]),
        (1, ["trainer.zero_stage=2", "trainer.gradient_checkpointing=true", "model.lora.rank=64"]),
    ],
    ids=["zero-2-checkpointing", "zero-2", "zero-3-checkpointing", "zero-3-float32", "adapter"],
)
def test_each_part_of_a_rank_is_planned(file: Path, ranks: int, overrides: list[str]) -> None:
    _check(file, ranks, overrides)


@pytest.mark.parametrize("family", [one for one in SIZES if one != "qwen2_5_vl"])
def test_other_families_are_planned(family: str, tmp_path: Path) -> None:
    _check(write(tmp_path, family), 1, ["trainer.zero_stage=2"])


def _check(file: Path, ranks: int, overrides: list[str]) -> None:
    overrides = [*overrides, f"trainer.ranks={ranks}"]
    found = measured(file, ranks, overrides)
    config = load_config(file, overrides)
    need = rank_need(config, read_shape(config.model), deepspeed_config(config), CHUNK)
    parts = compared(config, need, found)
    shares = {name: planned / seen - 1 for name, (planned, seen) in parts.items()}
    assert {name: share for name, share in shares.items() if abs(share) > BOUND} == {}, shares
