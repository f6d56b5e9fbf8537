"""A tiny random model of each family, with the demo's tokenizer."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from perl_rl.demo.model import build_processor

HIDDEN = 96
PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 4 * 56 * 56}

_TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 2048,
}
_VISION = {"depth": 4, "num_heads": 2}


def _rope(**more: Any) -> dict[str, Any]:
    """Frequencies for time, height and width: half of the head size in all."""
    return {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6], **more}


SIZES: dict[str, dict[str, Any]] = {
    "qwen2_vl": {
        "text_config": {**_TEXT, "rope_parameters": _rope()},
        "vision_config": {**_VISION, "embed_dim": 64, "hidden_size": HIDDEN, "mlp_ratio": 2},
    },
    "qwen2_5_vl": {
        "text_config": {**_TEXT, "rope_parameters": _rope()},
        "vision_config": {
            **_VISION,
            "hidden_size": 64,
            "intermediate_size": 128,
            "out_hidden_size": HIDDEN,
            # Two by two features: most pictures of the tests have several windows.
            "window_size": 56,
            "fullatt_block_indexes": [1, 3],
        },
    },
    "qwen3_vl": {
        "text_config": {**_TEXT, "rope_parameters": _rope(mrope_interleaved=True)},
        "vision_config": {
            **_VISION,
            "hidden_size": 64,
            "intermediate_size": 128,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 2],
        },
    },
}
"""Of each family that is supported, by its ``model_type``."""


def family_processor(family: str) -> ProcessorMixin:
    """The family's processor around the demo's tokenizer and chat template."""
    demo = build_processor()
    common = {"tokenizer": demo.tokenizer, "chat_template": demo.chat_template}
    if family in ("qwen2_vl", "qwen2_5_vl"):
        kind = Qwen2VLProcessor if family == "qwen2_vl" else type(demo)
        return kind(demo.image_processor, video_processor=demo.video_processor, **common)
    patches = {"patch_size": 16, "size": PIXELS, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    images, videos = Qwen2VLImageProcessor(**patches), Qwen3VLVideoProcessor(**patches)
    return Qwen3VLProcessor(images, video_processor=videos, **common)


def family_model(family: str, seed: int = 0, **text_config: Any) -> PreTrainedModel:
    """A model in fp32; equal seeds give equal ones, and every parameter differs between seeds.

    Args:
        text_config: what differs from `SIZES`.
    """
    tokenizer = build_processor().tokenizer
    sizes = SIZES[family]
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in {
            "image": "<|image_pad|>",
            "video": "<|video_pad|>",
            "vision_start": "<|vision_start|>",
            "vision_end": "<|vision_end|>",
        }.items()
    }
    text = {
        **sizes["text_config"],
        **text_config,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    }
    config = AutoConfig.for_model(
        family,
        text_config=text,
        vision_config=sizes["vision_config"],
        tie_word_embeddings=True,
        **ids,
    )
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    # As in the demo: with the usual deviation so narrow a model says nearly nothing. Norms and
    # biases are moved from where they start, so that one that is left out is noticed.
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        else:
            weight.data += 0.1 * torch.randn_like(weight)
    return model


def save_family(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a model in fp32 and its processor to `folder`."""
    family_model(family, seed).save_pretrained(folder)
    family_processor(family).save_pretrained(folder)
    return folder
