"""The model families that can be trained: the one list of them, and what they are outside torch.

A family is here when its log-probabilities in the trainer equal the sampler's; any other model
would train without an error, on wrong numbers. How the trainer computes with each is in
``services/trainer/compute/families/``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shared.errors import UserError
from shared.jsonlines import parse_json

Packing = Literal["packed", "replicated"]
"""Whether the responses of an order share its prompt in one row, or each has a row of its own."""


@dataclass(frozen=True)
class Family:
    """What the sampler, the checks and the memory plan need to know of a family.

    Pictures are cut by the model's own image processor, which knows patch size and bounds.
    """

    name: str
    vision: str = "visual."
    """Part of the name of each parameter of the vision tower, in memory and in weight files."""
    vision_width: str = "hidden_size"
    """The key in ``vision_config`` of the width of a vision block."""
    vision_rms: bool = False
    """Whether the vision tower has RMS norms, which keep an fp32 copy for their backward pass."""
    vision_mlp: int = 2
    """Tensors of its inner width that a vision block's feed-forward part keeps for it."""
    head_norms: bool = False
    """Whether the language model normalises queries and keys."""


FAMILIES = {
    "qwen2_vl": Family("Qwen2-VL", vision_width="embed_dim", vision_mlp=3),
    "qwen2_5_vl": Family("Qwen2.5-VL", vision_rms=True, vision_mlp=4),
    "qwen3_vl": Family("Qwen3-VL", head_norms=True),
}
"""By the ``model_type`` in a model's ``config.json``."""


def check_family(folder: Path) -> str:
    """The ``model_type`` of the model in `folder`.

    Raises:
        UserError: when ``config.json`` cannot be read, or the model is of no family in `FAMILIES`.
    """
    content = _read(folder)
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        supported = ", ".join(f"{one.name} ({key})" for key, one in FAMILIES.items())
        named = f"'{kind}' ({_class(content)})" if kind else "none (config.json has no model_type)"
        raise UserError(
            f"model.path {folder}: the model family {named} is not supported; supported are: "
            f"{supported}"
        )
    if content.get("quantization_config"):
        raise UserError(
            f"model.path {folder}: the model is quantized (quantization_config in config.json), "
            "and such weights cannot be trained; name the model that it was made from"
        )
    return kind


def _class(content: dict[str, Any]) -> str:
    classes = content.get("architectures")
    return str(classes[0]) if isinstance(classes, list) and classes else "no class"


def chosen_packing(folder: Path, named: str) -> Packing:
    """How the model in `folder` is trained.

    Args:
        named: ``trainer.packing``.

    Raises:
        UserError: when ``packed`` was asked for and a layer cannot take its mask.
    """
    if named == "replicated":
        return "replicated"
    others = _layers_without_mask(_read(folder))
    if others and named == "packed":
        raise UserError(
            f"trainer.packing: the model in {folder} has layers ({others}) that cannot take the "
            "mask of a packed row; set it to auto or replicated"
        )
    return "replicated" if others else "packed"


def _layers_without_mask(content: dict[str, Any]) -> str:
    """The kinds of layers that see less than a mask allows: through a window, or by a state."""
    inner = content.get("text_config")
    text = inner if isinstance(inner, dict) else content
    kinds = set(map(str, text.get("layer_types") or []))
    if "layer_types" not in text and text.get("use_sliding_window"):
        kinds.add("sliding_attention")
    return ", ".join(sorted(kinds - {"full_attention"}))


def _read(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"model.path {folder}: cannot read config.json ({error.strerror})"
        ) from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{file}: is not a model's configuration; copy the model again")
    return content
