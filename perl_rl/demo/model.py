"""A Qwen2.5-VL of about two million parameters, with its tokenizer and processor.

Everything is made here and nothing is downloaded. Architecture and special tokens are the real
ones, so vLLM and transformers load it like the 7B model.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from perl_rl.demo.digits import IMAGE_SIDE, digits, questions, worked_answer
from shared.sample import IMAGE_TAG

INSTRUCTION = "Think inside <think> </think>, then answer in \\boxed{}."
"""PeRL's instruction in fewer words: each word costs a tiny model time."""

_SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Single tokens, but not special: decoded text must keep them for the format reward.
_TRACE_TOKENS = ("<think>", "</think>")

_BPE_SIZE = 512

_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] in ('image', 'image_url') or 'image' in part or 'image_url' in part -%}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif 'text' in part -%}{{ part['text'] }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{ '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)


def build_processor(texts: Sequence[str] | None = None) -> Qwen2_5_VLProcessor:
    """Tokenizer (byte-level BPE over `texts`), image processor and chat template.

    Args:
        texts: questions and worked answers; default: the demo's own.
    """
    tokenizer = _build_tokenizer(_demo_texts() if texts is None else texts)
    side = {"shortest_edge": IMAGE_SIDE**2, "longest_edge": 4 * IMAGE_SIDE**2}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=side),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=side),
        chat_template=_CHAT_TEMPLATE,
    )


def build_model(processor: Qwen2_5_VLProcessor, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """A randomly initialised model in fp32; equal seeds give equal models."""
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(_config(processor.tokenizer))
    # For such short prompts, plain attention is faster on a CPU than PyTorch's fused one.
    model.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    # The default deviation of 0.02 suits wide models. In a narrow one the signal fades from layer
    # to layer, and reading takes many times as long to learn.
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return model


def save(
    model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, folder: Path
) -> None:
    """Write model (in bf16) and processor to `folder`, loadable with ``from_pretrained``."""
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)


def _config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _SPECIAL_TOKENS}
    hidden, head = 192, 32
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": hidden // head,
            "num_key_value_heads": hidden // head // 3,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                # Frequencies for time, height and width: half of the head size in all.
                "mrope_section": [4, 6, 6],
            },
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "out_hidden_size": hidden,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def _build_tokenizer(texts: Sequence[str]) -> Qwen2Tokenizer:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=_BPE_SIZE,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(_corpus(texts), trainer)
    learned = json.loads(trained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        eos_token="<|im_end|>",
        model_max_length=2048,
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in _SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in _TRACE_TOKENS])
    return tokenizer


def _demo_texts() -> list[str]:
    asked = questions(600, digits().train, 1.0, "tokenizer")
    return [text for one in asked for text in (one.text, worked_answer(one))]


def _corpus(texts: Sequence[str]) -> list[str]:
    """The texts as the tokenizer sees them: cut at special tokens."""
    cuts = "|".join(re.escape(token) for token in (IMAGE_TAG, *_TRACE_TOKENS))
    frame = ["user\n", "assistant\n", "system\n", INSTRUCTION]
    return [piece for text in (*frame, *texts) for piece in re.split(cuts, text)]
