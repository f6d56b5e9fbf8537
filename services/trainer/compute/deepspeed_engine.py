"""DeepSpeed as the trainer uses it: its configuration, its engines, and gathering parameters."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import nn
from transformers.integrations import HfDeepSpeedConfig

from services.trainer.compute.adapter_names import has_adapter, is_adapter, peft_name
from services.trainer.compute.model import GroupModel
from shared.config import Config

_REDUCE_ELEMENTS = 100_000_000
"""Gradients that are reduced together: 0.4 GB in fp32, twice while one bucket is on its way. (With
DeepSpeed's default of five times as many, the buckets of a 7B model take 4 GB.)"""


def deepspeed_config(config: Config) -> dict[str, Any]:
    """DeepSpeed's configuration for the policy."""
    trainer = config.trainer
    zero: dict[str, Any] = {
        "stage": trainer.zero_stage,
        "reduce_bucket_size": _REDUCE_ELEMENTS,
        "allgather_bucket_size": _REDUCE_ELEMENTS,
    }
    if trainer.optimizer.offload:
        pinned = torch.cuda.is_available()
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": pinned}
    settings: dict[str, Any] = {
        # The trainer sets the accumulation boundary itself.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": trainer.optimizer.grad_clip,
        "zero_optimization": zero,
        "bf16": {"enabled": config.model.dtype == "bfloat16"},
        # Gradients are sums over many passes and ranks: bf16 would lose the small ones.
        "communication_data_type": "fp32",
        # torch's AdamW needs no CUDA compiler on the host, as DeepSpeed's own for the CPU does.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
    }
    if trainer.zero_stage > 0:
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings


@contextmanager
def shard_while_loading(config: Config) -> Iterator[None]:
    """Under ZeRO 3, models that are loaded in this context are sharded while they are read."""
    if config.trainer.zero_stage < 3:
        yield
        return
    # transformers looks for this object when it loads a model; it must stay alive until then.
    marker = HfDeepSpeedConfig(deepspeed_config(config))
    yield
    del marker


def start_policy(policy: GroupModel, config: Config) -> Any:
    """Wrap the policy in a DeepSpeed engine with AdamW and its learning-rate schedule."""
    settings = config.trainer.optimizer
    optimizer = torch.optim.AdamW(
        _parameter_groups(policy, settings.weight_decay),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        # One pass over parameters and state, on the GPU and (offloaded) with vector instructions.
        fused=True,
    )
    warmup = settings.warmup_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda update: min(1.0, (update + 1) / (warmup + 1))
    )
    engine, *_ = deepspeed.initialize(
        model=policy,
        optimizer=optimizer,
        lr_scheduler=schedule,
        config=deepspeed_config(config),
    )
    return engine


def start_reference(reference: GroupModel, config: Config) -> nn.Module:
    """The frozen start model for the KL term; sharded like the policy under ZeRO 3."""
    reference.requires_grad_(False)
    reference.eval()
    if config.trainer.zero_stage < 3:
        return reference
    settings = {
        key: value
        for key, value in deepspeed_config(config).items()
        if key in ("train_micro_batch_size_per_gpu", "bf16")
    }
    settings["zero_optimization"] = {"stage": 3}
    engine, *_ = deepspeed.initialize(model=reference, config=settings)
    return engine


def apply_gradients(engine: Any) -> float:
    """Make one update of the policy; returns the norm of its gradients, before clipping.

    A norm that is not finite changes neither parameters nor the optimizer's state, and the
    gradients are forgotten. DeepSpeed sees to that in ZeRO 1 to 3 and with bf16; in fp32 without
    ZeRO it applies any gradient, so the norm is checked here. Equal on all ranks.
    """
    if engine.zero_optimization() or engine.bfloat16_enabled():
        engine.step()
        return float(engine.get_global_grad_norm()) if engine.was_step_applied() else math.inf
    gradients = [one.grad for one in engine.module.parameters() if one.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients))
    if math.isfinite(norm):
        engine.step()
    else:
        engine.zero_grad()
    return norm


def _parameter_groups(policy: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and norms are not decayed."""
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    # Under ZeRO 3 a parameter is a placeholder; its real shape is in `ds_shape`.
    matrices = [one for one in trained if len(getattr(one, "ds_shape", one.shape)) >= 2]
    others = [one for one in trained if len(getattr(one, "ds_shape", one.shape)) < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # An adapter has matrices only; DeepSpeed forgets a group without parameters.
    return [group for group in groups if group["params"]]


def full_parameters(engine: Any, keep: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and CPU tensor of every parameter of the policy, or of its adapter, gathered one at a
    time; an adapter's names are those of peft's files.

    Every rank has to exhaust the iterator; only those that pass `keep` get the tensors.
    """
    adapted = has_adapter(engine.module.model)
    for name, parameter in engine.module.model.named_parameters():
        if adapted:
            if not parameter.requires_grad:
                continue
            name = peft_name(name)
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            if keep:
                yield name, parameter.detach().to("cpu", copy=True)


def checkpoint_bytes(engine: Any) -> int:
    """An estimate of a checkpoint's size: each parameter in half precision, and its master copy and
    AdamW state in fp32."""
    parameters = list(engine.module.parameters())
    if has_adapter(engine.module.model):
        parameters = [one for one in parameters if one.requires_grad]
    count = sum(getattr(one, "ds_numel", one.numel()) for one in parameters)
    return 14 * int(count)


def save_state(engine: Any, folder: Path, tag: str) -> None:
    """Write this rank's part of a checkpoint; of a policy with an adapter, only the adapter's."""
    adapted = has_adapter(engine.module.model)
    settings = {"save_latest": False, "exclude_frozen_parameters": adapted}
    with _without_frozen_tensors(engine.module) if adapted else nullcontext():
        engine.save_checkpoint(str(folder), tag=tag, **settings)


@contextmanager
def _without_frozen_tensors(module: nn.Module) -> Iterator[None]:
    """Left to itself, DeepSpeed keeps tied embeddings under their second name."""

    def keep_adapter(_: nn.Module, tensors: dict[str, Any], *__: Any) -> None:
        for name in [name for name in tensors if not is_adapter(name)]:
            del tensors[name]

    hook = module.register_state_dict_post_hook(keep_adapter)
    try:
        yield
    finally:
        hook.remove()


def load_state(engine: Any, folder: Path, tag: str) -> bool:
    """Take up what `save_state` wrote; False when DeepSpeed finds nothing there."""
    adapted = has_adapter(engine.module.model)
    path, _ = engine.load_checkpoint(str(folder), tag=tag, load_module_strict=not adapted)
    return path is not None
