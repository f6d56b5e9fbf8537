"""Group packing: a group's images are encoded once, and the responses of an order share its prompt.

A row is ``[prompt, response 1, ..., response n]`` of one order. A mask lets response k see the
prompt and itself, and its M-RoPE positions restart after the prompt, so that the row computes what
n separate sequences would.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

PADDING = -1
PROMPT = 0


@dataclass(frozen=True)
class PackedResponse:
    """One response as the loss needs it."""

    token_ids: np.ndarray
    """(T,) int32."""
    logprobs: np.ndarray
    """(T,) float32, the sampler's."""
    current: np.ndarray
    """(T,) bool: sampled by the policy version that is about to be trained."""
    advantage: float
    truncated: bool = False
    """Cut off at ``sampling.max_tokens``."""


@dataclass(frozen=True)
class PreparedOrder:
    """One order of a group."""

    prompt_ids: np.ndarray
    """(P,) int32, image placeholders expanded."""
    positions: torch.Tensor
    """(3, P) int64 M-RoPE positions of the prompt."""
    images: tuple[int, ...]
    """For each image of the prompt, in order, its index among the group's distinct images."""
    image_columns: np.ndarray
    """(F,) columns of the prompt that hold image features."""
    responses: tuple[PackedResponse, ...]


@dataclass(frozen=True)
class PreparedGroup:
    """A group ready to be packed."""

    pixel_values: torch.Tensor
    """(patches, features) float32 of the distinct images, one after another."""
    grid: torch.Tensor
    """(images, 3) int64: temporal, height and width patches of each distinct image."""
    orders: tuple[PreparedOrder, ...]


@dataclass
class RowChunk:
    """Rows that go through the language model together: R rows of L tokens, K response tokens."""

    input_ids: torch.Tensor
    """(R, L) int64."""
    positions: torch.Tensor
    """(3, R, L) int64."""
    segments: torch.Tensor
    """(R, L) int64: 0 the prompt, k the k-th response of the row, -1 padding."""
    images: tuple[int, ...]
    """Indices of the batch's images in the order in which the rows show them."""
    feature_rows: torch.Tensor
    """(F,) int64 row of each image feature."""
    feature_columns: torch.Tensor
    """(F,) int64 column of each image feature."""
    predict_rows: torch.Tensor
    """(K,) int64 row of the token that predicts each response token."""
    predict_columns: torch.Tensor
    """(K,) int64 its column: the token before, or the end of the prompt."""
    targets: torch.Tensor
    """(K,) int64 the response tokens."""


@dataclass
class PackedBatch:
    """Whole groups that go forward and backward together: S responses with T tokens in all."""

    pixel_values: torch.Tensor
    """(patches, features) float32."""
    grid: torch.Tensor
    """(images, 3) int64."""
    chunks: list[RowChunk]
    old_logprobs: torch.Tensor
    """(T,) float32, the sampler's, in the order of the chunks' targets."""
    current: torch.Tensor
    """(T,) bool."""
    response: torch.Tensor
    """(T,) int64: which response each token belongs to, 0..S-1."""
    lengths: torch.Tensor
    """(S,) float32 tokens of each response."""
    advantages: torch.Tensor
    """(S,) float32."""
    truncated: torch.Tensor
    """(S,) bool."""
    idle_chunks: int = 0
    """How often the last chunk is computed again, without effect, to match other ranks' passes."""

    def to(self, device: torch.device) -> "PackedBatch":
        """A copy on `device`."""
        return replace(
            self, chunks=[_moved(chunk, device) for chunk in self.chunks], **_tensors(self, device)
        )


def _moved(chunk: RowChunk, device: torch.device) -> RowChunk:
    return replace(chunk, **_tensors(chunk, device))


def _tensors(holder: object, device: torch.device) -> dict[str, Any]:
    values = vars(holder).items()
    return {name: one.to(device) for name, one in values if isinstance(one, torch.Tensor)}


@dataclass(frozen=True)
class _Row:
    order: PreparedOrder
    responses: tuple[PackedResponse, ...]
    first_image: int
    """Index in the batch of the group's first distinct image."""

    @property
    def length(self) -> int:
        return len(self.order.prompt_ids) + sum(len(one.token_ids) for one in self.responses)


def pack(groups: list[PreparedGroup], token_budget: int) -> list[PackedBatch]:
    """Pack groups into batches of at most `token_budget` tokens, padding included.

    A group is never split over batches, so that its images are encoded once; one that alone exceeds
    the budget becomes a batch of several chunks.
    """
    batches: list[PackedBatch] = []
    held: list[PreparedGroup] = []
    rows: list[_Row] = []
    for group in groups:
        images = sum(len(one.grid) for one in held)
        new = _rows(group, token_budget, images)
        if held and _padded(rows + new) > token_budget:
            batches.append(_batch(held, rows, token_budget))
            held, rows = [], []
            new = _rows(group, token_budget, 0)
        held.append(group)
        rows.extend(new)
    if held:
        batches.append(_batch(held, rows, token_budget))
    return batches


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


def _rows(group: PreparedGroup, token_budget: int, first_image: int) -> list[_Row]:
    rows: list[_Row] = []
    for order in group.orders:
        held: list[PackedResponse] = []
        length = len(order.prompt_ids)
        for response in order.responses:
            if held and length + len(response.token_ids) > token_budget:
                rows.append(_Row(order, tuple(held), first_image))
                held, length = [], len(order.prompt_ids)
            held.append(response)
            length += len(response.token_ids)
        rows.append(_Row(order, tuple(held), first_image))
    return rows


def _padded(rows: list[_Row]) -> int:
    return len(rows) * max(row.length for row in rows)


def _batch(groups: list[PreparedGroup], rows: list[_Row], token_budget: int) -> PackedBatch:
    chunks: list[list[_Row]] = [[]]
    for row in rows:
        if chunks[-1] and _padded([*chunks[-1], row]) > token_budget:
            chunks.append([])
        chunks[-1].append(row)
    responses = [response for row in rows for response in row.responses]
    lengths = [len(response.token_ids) for response in responses]
    return PackedBatch(
        pixel_values=torch.cat([group.pixel_values for group in groups]),
        grid=torch.cat([group.grid for group in groups]),
        chunks=[_chunk(chunk) for chunk in chunks],
        old_logprobs=torch.from_numpy(np.concatenate([one.logprobs for one in responses])),
        current=torch.from_numpy(np.concatenate([one.current for one in responses])),
        response=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
        lengths=torch.tensor(lengths, dtype=torch.float32),
        advantages=torch.tensor([one.advantage for one in responses], dtype=torch.float32),
        truncated=torch.tensor([one.truncated for one in responses]),
    )


def _chunk(rows: list[_Row]) -> RowChunk:
    length = max(row.length for row in rows)
    input_ids = np.zeros((len(rows), length), dtype=np.int64)
    positions = torch.zeros(3, len(rows), length, dtype=torch.int64)
    segments = np.full((len(rows), length), PADDING, dtype=np.int64)
    feature_columns: list[np.ndarray] = []
    predict_columns: list[np.ndarray] = []
    for index, row in enumerate(rows):
        order = row.order
        end = len(order.prompt_ids)
        input_ids[index, :end] = order.prompt_ids
        positions[:, index, :end] = order.positions
        segments[index, :end] = PROMPT
        feature_columns.append(order.image_columns)
        after_prompt = int(order.positions.max()) + 1
        columns: list[np.ndarray] = []
        for number, response in enumerate(row.responses, start=1):
            tokens = len(response.token_ids)
            start, end = end, end + tokens
            input_ids[index, start:end] = response.token_ids
            positions[:, index, start:end] = torch.arange(after_prompt, after_prompt + tokens)
            segments[index, start:end] = number
            before = np.arange(start - 1, end - 1)
            before[:1] = len(order.prompt_ids) - 1
            columns.append(before)
        predict_columns.append(np.concatenate(columns))
    return RowChunk(
        input_ids=torch.from_numpy(input_ids),
        positions=positions,
        segments=torch.from_numpy(segments),
        images=tuple(row.first_image + image for row in rows for image in row.order.images),
        feature_rows=_row_numbers(feature_columns),
        feature_columns=torch.from_numpy(np.concatenate(feature_columns).astype(np.int64)),
        predict_rows=_row_numbers(predict_columns),
        predict_columns=torch.from_numpy(np.concatenate(predict_columns)),
        targets=torch.from_numpy(
            np.concatenate(
                [response.token_ids for row in rows for response in row.responses]
            ).astype(np.int64)
        ),
    )


def _row_numbers(columns: list[np.ndarray]) -> torch.Tensor:
    counts = torch.tensor([len(one) for one in columns])
    return torch.repeat_interleave(torch.arange(len(columns)), counts)
