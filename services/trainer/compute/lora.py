"""LoRA: small matrices beside frozen weights, trained in their place (arXiv 2106.09685).

``peft`` puts them into the model itself, which keeps its class, its names and its kernels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from peft.helpers import rescale_adapter_scale
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from services.trainer.compute.adapter_names import PEFT_PREFIX
from services.trainer.compute.features import BatchFeatures
from services.trainer.compute.packing import RowChunk
from shared.config import Config, LoraConfig
from shared.model_identity import model_digest
from shared.weights.manifest import ADAPTER_FILE, Adapter

_LANGUAGE = "model.language_model"
_VISION = "model.visual"


def add_adapter(model: PreTrainedModel, config: Config) -> None:
    """Put an adapter into `model` and freeze all else; it changes nothing yet (B is zero).

    Every rank gets the same one, whatever it drew before.

    Raises:
        UserError: when a target matches no layer, naming those that there are.
    """
    assert config.model.lora is not None
    layers = adapted_layers(model, config.model.lora)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        peft.inject_adapter_in_model(_settings(config, layers), model)


def adapter_of(config: Config) -> Adapter | None:
    """What a published version says of its adapter; None when all weights are trained."""
    lora = config.model.lora
    if lora is None:
        return None
    return Adapter(base=model_digest(config.model.path), rank=lora.rank, alpha=lora.alpha)


def adapted_layers(model: nn.Module, lora: LoraConfig) -> list[str]:
    """The whole names of the layers that get an adapter.

    Raises:
        UserError: as `add_adapter`.
    """
    within = (f"{_LANGUAGE}.", f"{_VISION}.") if lora.vision else (f"{_LANGUAGE}.",)
    linear = [
        name
        for name, one in model.named_modules()
        if isinstance(one, nn.Linear) and name.startswith(within)
    ]
    return lora.chosen(linear)


def _settings(config: Config, layers: Sequence[str]) -> peft.LoraConfig:
    lora = config.model.lora
    assert lora is not None
    return peft.LoraConfig(
        base_model_name_or_path=str(config.model.path.resolve()),
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(layers),
    )


def save_adapter(folder: Path, config: Config, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write an adapter in peft's format, for ``from_pretrained``.

    Args:
        tensors: by their names in peft's files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    layers = {name.removeprefix(PEFT_PREFIX).rpartition(".lora_")[0] for name in tensors}
    settings = _settings(config, sorted(layers))
    settings.inference_mode = True
    settings.save_pretrained(str(folder))
    save_file(dict(tensors), folder / ADAPTER_FILE, metadata={"format": "pt"})


class WithoutAdapter:
    """The start model for the KL term: the policy itself, its adapter scaled to nothing.

    All layers are called as in training, so that ZeRO 3 gathers their parameters in the same order.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __call__(self, chunk: RowChunk, features: BatchFeatures) -> torch.Tensor:
        """(T,) log-probabilities of a chunk; see `GroupModel.forward`."""
        with rescale_adapter_scale(self._engine.module.model, 0):
            logprobs: torch.Tensor = self._engine(chunk, features)
        return logprobs
