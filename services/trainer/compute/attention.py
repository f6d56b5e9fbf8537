"""Attention of packed rows: which keys each token sees, in the form that each kernel takes."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface

from services.trainer.compute.packing import PADDING, PROMPT, RowChunk, lengthened
from shared.errors import UserError
from shared.families import Packing

FLEX = "packed_flex"
"""What the FlexAttention of packed rows is called in transformers' register."""

BLOCK = 128
"""Tokens on each side of a block that FlexAttention computes or skips."""


def chosen_attention(named: str, device: torch.device, packing: Packing = "packed") -> str:
    """The kernel for the language model, by its name in transformers' register.

    Args:
        named: ``trainer.attention``.
        packing: of the rows.

    Raises:
        UserError: when the device or the rows cannot be trained with it.
    """
    if packing == "replicated":
        if named == "flex":
            raise UserError(
                "trainer.attention: flex is for packed rows, and this run replicates prompts "
                "(trainer.packing); set it to auto, sdpa or eager"
            )
        return "sdpa" if named == "auto" else named
    if named == "auto":
        return FLEX if device.type == "cuda" else "sdpa"
    if named == "flex" and device.type != "cuda":
        raise UserError(
            "trainer.attention: PyTorch's FlexAttention has no backward pass on the CPU; "
            "set it to auto, sdpa or eager"
        )
    return FLEX if named == "flex" else named


def with_mask(chunk: RowChunk, kernel: str, dtype: torch.dtype) -> tuple[RowChunk, Any]:
    """A chunk as `kernel` takes it, and the mask for it.

    Args:
        kernel: see `chosen_attention`.
        dtype: of the attention scores.
    """
    if chunk.replicated:
        # transformers makes the mask that each of the model's layers needs. Padding is at the end,
        # where no token of a response sees it.
        return chunk, None
    if kernel == FLEX:
        chunk = lengthened(chunk, BLOCK)
        return chunk, block_mask(chunk.segments)
    mask = attention_mask(chunk.segments)
    # transformers' eager attention adds the mask to the scores, whatever its dtype: with a boolean
    # mask every token would see all others, and no error would say so.
    return chunk, additive(mask, dtype) if kernel == "eager" else mask


def attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """(R, 1, L, L) bool: which keys each query sees.

    A token sees the prompt and what precedes it in its own segment. Padding sees itself, so that no
    softmax is empty.
    """
    length = segments.shape[1]
    query, key = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    seen = ((key == query) | (key == PROMPT)) & (key != PADDING) & causal
    return (seen | torch.eye(length, dtype=torch.bool, device=segments.device))[:, None]


def additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mask as numbers to add to attention scores: 0 where a key is seen, else the minimum."""
    scores = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return scores.masked_fill(~mask, torch.finfo(dtype).min)


def block_mask(segments: torch.Tensor) -> BlockMask:
    """The same mask for FlexAttention, without an (L, L) tensor.

    A block of keys is skipped when no query of a block sees any of it, and computed without a mask
    when all see all of it.

    Args:
        segments: (R, L) as in `RowChunk`, L a multiple of `BLOCK`.
    """
    length = segments.shape[1]
    in_blocks = segments.unflatten(1, (length // BLOCK, BLOCK))
    lowest, highest = in_blocks.amin(-1), in_blocks.amax(-1)
    query_low, query_high = lowest[:, :, None], highest[:, :, None]
    key_low, key_high = lowest[:, None, :], highest[:, None, :]
    number = torch.arange(length // BLOCK, device=segments.device)
    before, same = number[:, None] > number[None, :], number[:, None] == number[None, :]
    # Segments only rise along a row until its padding, so an earlier block shares a segment with a
    # later one when its highest reaches the later one's lowest.
    holds_prompt = (in_blocks == PROMPT).any(-1)[:, None, :]
    padded = (lowest == PADDING)[:, :, None]
    seen = same | (before & (holds_prompt | padded | (key_high >= query_low)))
    all_prompt = (key_low == PROMPT) & (key_high == PROMPT)
    one_segment = (query_low == query_high) & (key_low == query_low) & (key_high == query_low)
    whole = before & (query_low != PADDING) & (all_prompt | one_segment)
    return BlockMask.from_kv_blocks(
        *_listed(seen & ~whole),
        *_listed(whole),
        BLOCK_SIZE=BLOCK,
        mask_mod=_rule(segments),
        seq_lengths=(length, length),
    )


def _listed(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For (R, Q, K) flags: how many blocks of keys each block of queries has, and which, first."""
    count = blocks.sum(-1, dtype=torch.int32)[:, None]
    which = blocks.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    return count, which.to(torch.int32)[:, None].contiguous()


def _rule(segments: torch.Tensor) -> Callable[..., torch.Tensor]:
    def sees(
        row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        of_key = segments[row, key]
        shared = (of_key == segments[row, query]) | (of_key == PROMPT)
        return (shared & (of_key != PADDING) & (query >= key)) | (query == key)

    return sees


@cache
def compiled_flex(backend: Any = "inductor") -> Any:
    """FlexAttention as one program for all numbers and lengths of rows.

    Compiled for each shape on its own it would take a minute for each. (Where the first call has
    as many rows as heads, it is compiled once more for others.)
    """
    return torch.compile(flex_attention, dynamic=True, backend=backend)


def _packed_flex(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: BlockMask,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface: (R, H, L, D) queries, (R, G, L, D) keys and values."""
    # On the CPU there is only a forward pass, which cannot be compiled for lengths that vary.
    attend: Any = compiled_flex() if query.is_cuda else flex_attention
    found = attend(query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=True)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(FLEX, _packed_flex)
