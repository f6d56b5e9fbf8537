"""The policy of one rank: its model, DeepSpeed engine and frozen reference."""

from pathlib import Path

import torch

from services.trainer.compute import collective
from services.trainer.compute.deepspeed_engine import (
    full_parameters,
    shard_while_loading,
    start_policy,
    start_reference,
)
from services.trainer.compute.lora import WithoutAdapter, add_adapter, save_adapter
from services.trainer.compute.model import GroupModel, load_model
from services.trainer.compute.prepare import GroupPreparer
from services.trainer.compute.step import Reference
from shared.config import Config
from shared.families import chosen_packing


class Policy:
    """Loads everything from ``model.path``; every rank has one."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self.device = device
        self._config = config
        trainer, temperature = config.trainer, config.sampling.temperature
        with shard_while_loading(config):
            policy = load_model(config.model.path, config, device)
            wants_reference = trainer.objective.kl_coef > 0
            wants_second = wants_reference and config.model.lora is None
            reference = load_model(config.model.path, config, device) if wants_second else None
        if config.model.lora is not None:
            add_adapter(policy, config)
        # `from_pretrained` gives models for inference, in which transformers' layers ignore
        # gradient checkpointing.
        policy.train()
        if trainer.gradient_checkpointing:
            policy.gradient_checkpointing_enable({"use_reentrant": False})
        self._model = policy
        self.packing = chosen_packing(config.model.path, trainer.packing)
        self.preparer = GroupPreparer(config, policy)
        trained = GroupModel(policy, temperature, freeze_vision=not config.trains_vision)
        self.engine = start_policy(trained.to(device), config)
        self.reference: Reference | None = None
        """The start model, for the KL term; None where the objective has none."""
        if wants_reference and config.model.lora is not None:
            self.reference = WithoutAdapter(self.engine)
        if reference is not None:
            frozen = GroupModel(reference, temperature)
            self.reference = start_reference(frozen.to(device), config)

    def save(self, folder: Path) -> None:
        """Write model (or adapter) and processor, loadable with ``from_pretrained``; every rank
        calls it."""
        tensors = dict(full_parameters(self.engine, keep=collective.is_first()))
        if collective.is_first():
            if self._config.model.lora is None:
                self._model.save_pretrained(folder, state_dict=tensors)
            else:
                save_adapter(folder, self._config, tensors)
            self.preparer.save(folder)
        torch.distributed.barrier()
