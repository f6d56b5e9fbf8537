"""The families that the trainer can compute with, by the ``model_type`` of their configuration."""

from transformers import PreTrainedModel

from services.trainer.compute.families.base import Family
from services.trainer.compute.families.qwen2_5_vl import Qwen2_5VL
from services.trainer.compute.families.qwen2_vl import Qwen2VL
from services.trainer.compute.families.qwen3_vl import Qwen3VL

_FAMILIES: dict[str, type[Family]] = {
    "qwen2_vl": Qwen2VL,
    "qwen2_5_vl": Qwen2_5VL,
    "qwen3_vl": Qwen3VL,
}


def family_of(model: PreTrainedModel) -> Family:
    """How to compute with `model`; `load_model` refuses models of other families."""
    return _FAMILIES[model.config.model_type](model)
