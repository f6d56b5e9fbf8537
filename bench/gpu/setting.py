"""The sizes of a run of the stages: for a GPU of 80 GB, or tiny ones for a CPU."""

from dataclasses import dataclass
from typing import Any

import torch

from bench.gpu.groups import GroupSize

_TOKENS = {
    "image_token_id": 371,
    "video_token_id": 372,
    "vision_start_token_id": 368,
    "vision_end_token_id": 369,
}


@dataclass(frozen=True)
class Setting:
    """What the stages compute with."""

    device: str
    """``cuda`` or ``cpu``."""
    dtype: str
    layers: tuple[int, ...]
    """Layers of the language model that steps are timed with; their slope gives all others."""
    all_layers: int
    """Layers of the whole model."""
    text: dict[str, Any]
    vision: dict[str, Any]
    rows: tuple[GroupSize, ...]
    """Groups whose rows are short, long, and longer than a configuration allows."""
    pictures: tuple[GroupSize, ...]
    """Groups with few and with many pictures."""
    head_tokens: int
    """Response tokens whose logits are computed."""
    steps: int
    """How many steps must not grow."""

    def model_config(self, layers: int) -> dict[str, Any]:
        """The ``config.json`` of the model with so many language layers."""
        text = {"model_type": "qwen2_5_vl_text", "num_hidden_layers": layers, **self.text}
        return {
            "model_type": "qwen2_5_vl",
            **_TOKENS,
            "tie_word_embeddings": False,
            "text_config": {**text, "tie_word_embeddings": False},
            "vision_config": {"model_type": "qwen2_5_vl_vision", **self.vision},
        }

    @property
    def torch_device(self) -> torch.device:
        """The device as torch names it."""
        return torch.device("cuda:0" if self.device == "cuda" else "cpu")


GPU = Setting(
    device="cuda",
    dtype="bfloat16",
    layers=(4, 8),
    all_layers=28,
    text={
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": [16, 24, 24],
        },
    },
    vision={
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "window_size": 112,
    },
    rows=(
        GroupSize(images=3, patches=36, text=200, responses=[500] * 6),
        GroupSize(images=8, patches=36, text=5600, responses=[2048] * 6),
        GroupSize(images=24, patches=36, text=8600, responses=[2048] * 6),
    ),
    pictures=(
        GroupSize(images=3, patches=36, text=200, responses=[200]),
        GroupSize(images=32, patches=36, text=200, responses=[200]),
    ),
    head_tokens=8192,
    steps=20,
)

CPU = Setting(
    device="cpu",
    dtype="float32",
    layers=(1, 2),
    all_layers=4,
    text={
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 400,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [2, 3, 3],
        },
    },
    vision={
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 64,
        "fullatt_block_indexes": [1],
        "window_size": 112,
    },
    rows=(
        GroupSize(images=2, patches=4, text=10, responses=[7, 5]),
        GroupSize(images=2, patches=8, text=20, responses=[11, 9, 8]),
        GroupSize(images=3, patches=8, text=30, responses=[12, 12]),
    ),
    pictures=(
        GroupSize(images=1, patches=8, text=6, responses=[4]),
        GroupSize(images=4, patches=8, text=6, responses=[4]),
    ),
    head_tokens=64,
    steps=5,
)
