"""One rank without services: the project's own model, engine and step, with random weights."""

import json
import socket
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, GradientCheckpointingLayer

from bench.gpu.setting import Setting
from perl_rl.plan.shape import ModelShape, read_shape
from services.trainer.compute.attention import chosen_attention
from services.trainer.compute.deepspeed_engine import (
    shard_while_loading,
    start_policy,
    start_reference,
)
from services.trainer.compute.model import GroupModel
from services.trainer.compute.packing import PreparedGroup
from services.trainer.compute.step import Stepper
from services.trainer.compute.vision import chosen_vision_attention
from shared.config import Config
from shared.config.questions import ModelConfig


@dataclass
class Rank:
    """A rank that is ready to train."""

    config: Config
    shape: ModelShape
    engine: Any
    reference: nn.Module | None
    stepper: Stepper
    device: torch.device

    @property
    def model(self) -> Any:
        """The policy's model."""
        return self.engine.module.model

    def step(self, *groups: PreparedGroup) -> dict[str, float]:
        """Train one update; its loss, gradient norm and seconds."""
        began = clock(self.device)
        done = self.stepper.train([list(groups)])
        seconds = clock(self.device) - began
        assert not done.refused, "the gradient norm is not finite"
        norm = done.grad_norm or 0.0
        return {"loss": done.sums.loss, "grad_norm": norm, "seconds": seconds}


def clock(device: torch.device) -> float:
    """Seconds, when all work given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def settings(setting: Setting, **trainer: Any) -> Config:
    """The configuration of the stages, with these keys of ``trainer`` changed."""
    wanted = {
        "zero_stage": 3,
        "gradient_checkpointing": True,
        "groups_per_step": 1,
        "micro_batch_tokens": 32_768,
        **trainer,
    }
    return Config.model_validate(
        {
            "run": "bench-gpu",
            "model": {"path": "none", "dtype": setting.dtype},
            "data": {"train": "none"},
            "sampling": {"max_tokens": 2048},
            "trainer": wanted,
        }
    )


def join() -> None:
    """Start the collectives of a world of one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    deepspeed.init_distributed("nccl" if torch.cuda.is_available() else "gloo", verbose=False)


def model_sizes(setting: Setting, layers: int) -> tuple[Any, ModelShape]:
    """The configuration of the model in transformers, and its shape."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps(setting.model_config(layers)))
        return AutoConfig.from_pretrained(folder), read_shape(ModelConfig(path=Path(folder)))


def random_model(setting: Setting, sizes: Any, config: Config) -> Any:
    """A model with random weights on the device, in training mode."""
    torch.manual_seed(0)
    device = setting.torch_device
    kernels = {
        "text_config": chosen_attention(config.trainer.attention, device),
        "vision_config": chosen_vision_attention(config, device),
    }
    with device:
        model = AutoModelForImageTextToText.from_config(
            sizes, dtype=getattr(torch, config.model.dtype), attn_implementation=kernels
        )
    model.config.use_cache = False
    model.train()
    if config.trainer.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def make_rank(setting: Setting, layers: int, config: Config) -> Rank:
    """A rank as the trainer starts one."""
    sizes, shape = model_sizes(setting, layers)
    with shard_while_loading(config):
        policy = random_model(setting, sizes, config)
        wanted = config.trainer.objective.kl_coef > 0
        frozen = random_model(setting, sizes, config) if wanted else None
    temperature, device = config.sampling.temperature, setting.torch_device
    engine = start_policy(GroupModel(policy, temperature, config.trainer.freeze_vision), config)
    reference = None if frozen is None else start_reference(GroupModel(frozen, temperature), config)
    stepper = Stepper(engine, reference, config, device)
    return Rank(config, shape, engine, reference, stepper, device)


def layer_calls(model: nn.Module) -> Counter[int]:
    """Counts, from now on, how often each layer that can be checkpointed is called."""
    calls: Counter[int] = Counter()
    layers = [one for one in model.modules() if isinstance(one, GradientCheckpointingLayer)]
    for number, layer in enumerate(layers):
        calls[number] = 0
        # Before the layer: computing it again stops early, when all that is needed is there.
        layer.register_forward_pre_hook(lambda *_, number=number: calls.update([number]))
    return calls
