"""The sizes of a model that decide how much memory it needs."""

from dataclasses import dataclass
from typing import Any

from shared.config.lora import LoraConfig
from shared.config.questions import ModelConfig
from shared.errors import UserError
from shared.families import FAMILIES, Family, check_family, chosen_packing
from shared.named_folders import model_folder


@dataclass(frozen=True)
class ModelShape:
    """Counts of parameters, and widths."""

    parameters: int
    vision_parameters: int
    largest_layer: int
    """Parameters of the largest block that is computed again under gradient checkpointing."""
    tensors: tuple[int, ...]
    """Numbers in each parameter, those of the adapter included."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_intermediate: int
    patch_values: int
    """Numbers in one patch of an image."""
    patch_pixels: int
    """Pixels in one patch."""
    merge: int
    """Patches that become one image token."""
    adapter_parameters: int = 0
    """Beside `parameters`; 0 without ``model.lora``."""
    family: Family = FAMILIES["qwen2_5_vl"]
    deeper: int = 0
    """Layers of the language model that take features of their own (DeepStack)."""
    packs: bool = True
    """Whether every layer takes the mask of a packed row."""


def read_shape(model: ModelConfig) -> ModelShape:
    """The shape of a model, without its weights.

    Raises:
        UserError: when the folder has no ``config.json`` of a model of a supported family, or it
            has no layer that ``model.lora.targets`` names.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForImageTextToText, GradientCheckpointingLayer

    folder = model_folder(model.path)
    file = folder / "config.json"
    family = FAMILIES[check_family(folder)]
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=model.trust_remote_code)
        with torch.device("meta"):
            built = AutoModelForImageTextToText.from_config(
                config, trust_remote_code=model.trust_remote_code
            )
        text, vision = config.get_text_config(), config.vision_config
        width = getattr(vision, family.vision_width)
    except (OSError, ValueError, AttributeError, TypeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: is not a {family.name} model's ({reason})") from None
    layers = [one for one in built.modules() if isinstance(one, GradientCheckpointingLayer)]
    adapter = _adapter_tensors(built, model.lora)
    return ModelShape(
        parameters=_count(built),
        vision_parameters=sum(
            one.numel() for name, one in built.named_parameters() if family.vision in name
        ),
        largest_layer=max(map(_count, layers)),
        tensors=(*(one.numel() for one in built.parameters()), *adapter),
        adapter_parameters=sum(adapter),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocabulary=text.vocab_size,
        vision_layers=vision.depth,
        vision_hidden=width,
        vision_intermediate=getattr(vision, "intermediate_size", None) or width * vision.mlp_ratio,
        patch_values=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        patch_pixels=vision.patch_size**2,
        merge=vision.spatial_merge_size**2,
        family=family,
        deeper=len(getattr(vision, "deepstack_visual_indexes", ())),
        packs=chosen_packing(folder, "auto") == "packed",
    )


def _adapter_tensors(model: Any, lora: LoraConfig | None) -> list[int]:
    """Numbers in each matrix of an adapter."""
    if lora is None:
        return []
    from services.trainer.compute.lora import adapted_layers

    layers = [model.get_submodule(name) for name in adapted_layers(model, lora)]
    return [lora.rank * size for one in layers for size in (one.in_features, one.out_features)]


def _count(model: Any) -> int:
    """Parameters of a module; those that two layers share count once."""
    return sum(parameter.numel() for parameter in model.parameters())
