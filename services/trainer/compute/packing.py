"""Group packing: a group's images are encoded once, and the responses of an order share its prompt.

A row is ``[prompt, response 1, ..., response n]`` of one order. A mask lets response k see the
prompt and itself, and its M-RoPE positions restart after the prompt, so that the row computes what
n separate sequences would. A model whose layers cannot take such a mask gets replicated rows,
``[prompt, response]`` for each response.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from shared.families import Packing

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
class ResponseTokens:
    """What the loss needs of S whole responses with T tokens in all."""

    old_logprobs: torch.Tensor
    """(T,) float32, the sampler's."""
    current: torch.Tensor
    """(T,) bool: sampled by the policy version that is about to be trained."""
    response: torch.Tensor
    """(T,) int64: which response each token belongs to, 0..S-1."""
    lengths: torch.Tensor
    """(S,) float32 tokens of each response."""
    advantages: torch.Tensor
    """(S,) float32."""
    truncated: torch.Tensor
    """(S,) bool."""


@dataclass
class RowChunk:
    """Rows that go forward and backward together: R rows of L tokens, T response tokens."""

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
    """(T,) int64 row of the token that predicts each response token."""
    predict_columns: torch.Tensor
    """(T,) int64 its column: the token before, or the end of the prompt."""
    targets: torch.Tensor
    """(T,) int64 the response tokens."""
    responses: ResponseTokens
    """The same tokens, in the same order."""
    replicated: bool = False
    """Whether each row has a single response, so that it needs a causal mask and no other."""


@dataclass
class PackedBatch:
    """Whole groups, whose images are encoded once, in chunks that are computed one by one."""

    pixel_values: torch.Tensor
    """(patches, features) float32 of the distinct images, one after another."""
    grid: torch.Tensor
    """(images, 3) int64."""
    chunks: list[RowChunk]
    idle_passes: int = 0
    """How often a chunk is computed without effect, to match other ranks' passes."""

    def passes(self) -> list[tuple[RowChunk, bool]]:
        """The chunks in the order in which they are computed, and whether each counts.

        Idle passes come first, on the smallest chunk.
        """
        smallest = min(self.chunks, key=lambda chunk: chunk.input_ids.numel())
        idle = [(smallest, False)] * self.idle_passes
        return idle + [(chunk, True) for chunk in self.chunks]

    def to(self, device: torch.device) -> "PackedBatch":
        """A copy on `device`."""
        return replace(
            self, chunks=[_moved(chunk, device) for chunk in self.chunks], **_tensors(self, device)
        )


def _moved(chunk: RowChunk, device: torch.device) -> RowChunk:
    responses = replace(chunk.responses, **_tensors(chunk.responses, device))
    return replace(chunk, responses=responses, **_tensors(chunk, device))


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


def pack(
    groups: list[PreparedGroup], token_budget: int, packing: Packing = "packed"
) -> list[PackedBatch]:
    """Pack groups into batches of chunks of at most `token_budget` tokens, padding included.

    A group is never split over batches, so that its images are encoded once. Groups that fit into
    one chunk together share a batch; one that alone exceeds the budget becomes several chunks. Only
    a prompt with a single response may exceed the budget: it is never cut.

    Args:
        packing: ``replicated``: each response has a row of its own.
    """
    replicated = packing == "replicated"
    batches: list[PackedBatch] = []
    held: list[PreparedGroup] = []
    rows: list[_Row] = []
    for group in groups:
        images = sum(len(one.grid) for one in held)
        new = _rows(group, token_budget, images, replicated)
        if held and _padded(rows + new) > token_budget:
            batches.append(_batch(held, rows, token_budget, replicated))
            held, rows = [], []
            new = _rows(group, token_budget, 0, replicated)
        held.append(group)
        rows.extend(new)
    if held:
        batches.append(_batch(held, rows, token_budget, replicated))
    return batches


def _rows(
    group: PreparedGroup, token_budget: int, first_image: int, replicated: bool
) -> list[_Row]:
    rows: list[_Row] = []
    for order in group.orders:
        held: list[PackedResponse] = []
        length = len(order.prompt_ids)
        for response in order.responses:
            if held and (replicated or length + len(response.token_ids) > token_budget):
                rows.append(_Row(order, tuple(held), first_image))
                held, length = [], len(order.prompt_ids)
            held.append(response)
            length += len(response.token_ids)
        rows.append(_Row(order, tuple(held), first_image))
    return rows


def _padded(rows: list[_Row]) -> int:
    return len(rows) * max(row.length for row in rows)


def _batch(
    groups: list[PreparedGroup], rows: list[_Row], token_budget: int, replicated: bool
) -> PackedBatch:
    chunks: list[list[_Row]] = [[]]
    for row in rows:
        if chunks[-1] and _padded([*chunks[-1], row]) > token_budget:
            chunks.append([])
        chunks[-1].append(row)
    return PackedBatch(
        pixel_values=torch.cat([group.pixel_values for group in groups]),
        grid=torch.cat([group.grid for group in groups]),
        chunks=[_chunk(chunk, replicated) for chunk in chunks],
    )


def _response_tokens(responses: list[PackedResponse]) -> ResponseTokens:
    lengths = [len(response.token_ids) for response in responses]
    return ResponseTokens(
        old_logprobs=torch.from_numpy(np.concatenate([one.logprobs for one in responses])),
        current=torch.from_numpy(np.concatenate([one.current for one in responses])),
        response=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
        lengths=torch.tensor(lengths, dtype=torch.float32),
        advantages=torch.tensor([one.advantage for one in responses], dtype=torch.float32),
        truncated=torch.tensor([one.truncated for one in responses]),
    )


def _chunk(rows: list[_Row], replicated: bool) -> RowChunk:
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
    responses = [response for row in rows for response in row.responses]
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
            np.concatenate([one.token_ids for one in responses]).astype(np.int64)
        ),
        responses=_response_tokens(responses),
        replicated=replicated,
    )


def _row_numbers(columns: list[np.ndarray]) -> torch.Tensor:
    counts = torch.tensor([len(one) for one in columns])
    return torch.repeat_interleave(torch.arange(len(columns)), counts)


def lengthened(chunk: RowChunk, multiple: int) -> RowChunk:
    """The chunk with rows padded to a multiple of so many tokens."""
    missing = -chunk.input_ids.shape[1] % multiple
    if not missing:
        return chunk
    return replace(
        chunk,
        input_ids=pad(chunk.input_ids, (0, missing)),
        positions=pad(chunk.positions, (0, missing)),
        segments=pad(chunk.segments, (0, missing), value=PADDING),
    )
