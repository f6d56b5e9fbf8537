"""One training step of this rank: from prepared groups to optimizer updates."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch

from services.trainer.compute import collective
from services.trainer.compute.canary import exchanged, has_pictures, reaction
from services.trainer.compute.deepspeed_engine import apply_gradients
from services.trainer.compute.features import BatchFeatures
from services.trainer.compute.importance import importance_weights, mean_terms
from services.trainer.compute.loss import LossSums, normaliser, policy_loss
from services.trainer.compute.model import chunk_logprobs
from services.trainer.compute.packing import PackedBatch, PreparedGroup, RowChunk, pack
from shared.config import Config
from shared.families import Packing

Reference = Callable[[RowChunk, BatchFeatures], torch.Tensor]
"""Gives the start model's log-probabilities of a chunk."""


@dataclass(frozen=True)
class Updates:
    """What the updates of one step did; equal on every rank but for `logprobs`."""

    sums: LossSums
    """Over all ranks, of the updates that were made."""
    grad_norm: float | None
    """Of the last update that was made; None when none was."""
    refused: tuple[int, ...]
    """Numbers of the updates, from 0, that changed nothing: their gradient norm was not finite."""
    logprobs: tuple[torch.Tensor, ...] = ()
    """For each update, (T,) float32: the policy's log-probabilities of this rank's response tokens
    when the update began, group by group; empty unless trained groups are recorded."""


class Stepper:
    """Runs the forward and backward passes and the optimizer for lists of prepared groups."""

    def __init__(
        self,
        engine: Any,
        reference: Reference | None,
        config: Config,
        device: torch.device,
        packing: Packing = "packed",
    ) -> None:
        self._engine = engine
        self._reference = reference
        self._config = config
        self._packing: Packing = packing
        self._objective = config.trainer.objective
        self._max_tokens = config.sampling.max_tokens
        self._device = device
        self._recorded = config.record.share > 0

    def train(self, minibatches: list[list[PreparedGroup]]) -> Updates:
        """One optimizer update for each minibatch of this rank's groups.

        Every rank calls it with as many minibatches of as many groups.
        """
        sums, norm, refused = LossSums(), None, []
        logprobs: list[torch.Tensor] = []
        updates: Iterable[list[tuple[PackedBatch, bool]]] = map(self._batches, minibatches)
        proximal: list[list[list[torch.Tensor]] | None] = [None] * len(minibatches)
        if self._objective.old_logprobs == "trainer":
            # Taken before the first update: the later updates' ratios are relative to these.
            first, *later = updates
            proximal[1:] = [self._proximal(batches) for batches in later]
            if self._objective.importance_normalise:
                proximal[0] = self._proximal(first)
            updates = chain([first], later)
        for number, batches in enumerate(updates):
            found, seen = self._accumulate(batches, number == 0, proximal[number])
            logprobs += [torch.cat(seen)] if self._recorded else []
            update_norm = apply_gradients(self._engine)
            if math.isfinite(update_norm):
                norm = update_norm
                sums.add(found)
            else:
                refused.append(number)
        total = collective.total(sums, self._device)
        return Updates(total, norm, tuple(refused), tuple(logprobs))

    def _proximal(self, batches: list[tuple[PackedBatch, bool]]) -> list[list[torch.Tensor]]:
        """The policy's log-probabilities of each chunk of each batch, as it is now."""
        return [chunk_logprobs(self._engine, batch.to(self._device)) for batch, _ in batches]

    def _divisor(self, batches: list[tuple[PackedBatch, bool]]) -> float:
        """The divisor of this rank's summed loss.

        With it, DeepSpeed's mean over the ranks is the gradient of one rank with all responses.
        """
        own = [batch for batch, real in batches if real]
        counted = [chunk.responses for batch in own for chunk in batch.chunks]
        counts = [float(sum(len(one.lengths) for one in counted))]
        counts.append(float(sum(len(one.response) for one in counted)))
        responses, tokens = collective.added(counts, self._device)
        return normaliser(responses, tokens, self._objective) / collective.world()

    def _mean_weight(
        self, batches: list[tuple[PackedBatch, bool]], proximal: list[list[torch.Tensor]] | None
    ) -> float:
        """The mean importance weight of the update over all ranks, where it is divided by."""
        if proximal is None or not self._objective.importance_normalise:
            return 1.0
        total, count = 0.0, 0.0
        for (batch, real), known in zip(batches, proximal, strict=True):
            for chunk, old in zip(batch.to(self._device).chunks, known, strict=True):
                weights, _ = importance_weights(old, chunk.responses, self._objective)
                terms = mean_terms(weights, chunk.responses, self._objective)
                total, count = total + real * terms[0], count + real * terms[1]
        total, count = collective.added([total, count], self._device)
        # With every response masked all weights are 0, whatever they are divided by.
        return total / count if total else 1.0

    def canary(self, group: PreparedGroup) -> float | None:
        """How much log-probabilities change with other pictures: mean absolute change a token.

        Every rank calls it with one of its groups, and all make the same passes. None when no
        rank's group has pictures.
        """
        pair = [
            [batch.to(self._device) for batch, _ in self._batches([one])]
            for one in (group, exchanged(group))
        ]
        change, tokens = reaction(self._engine, *pair)
        counts = [change, float(tokens)] if has_pictures(group) else [0.0, 0.0]
        change, seen = collective.added(counts, self._device)
        return change / seen if seen else None

    def _accumulate(
        self,
        batches: list[tuple[PackedBatch, bool]],
        first_update: bool,
        proximal: list[list[torch.Tensor]] | None,
    ) -> tuple[LossSums, list[torch.Tensor]]:
        """Accumulate one update's gradients.

        Returns:
            The sums over this rank's responses, and the log-probabilities of their tokens.
        """
        sums, divisor = LossSums(), self._divisor(batches)
        seen: list[torch.Tensor] = []
        mean_weight = self._mean_weight(batches, proximal)
        for index, (batch, real) in enumerate(batches):
            batch, known = batch.to(self._device), iter(proximal[index] if proximal else ())
            features, reference_features = BatchFeatures(batch), BatchFeatures(batch)
            passes = batch.passes()
            for number, (chunk, counts) in enumerate(passes, start=1):
                last = number == len(passes)
                self._engine.set_gradient_accumulation_boundary(last and index == len(batches) - 1)
                reference = self._reference_logprobs(chunk, reference_features)
                logprobs = self._engine(chunk, features, last)
                if real and counts:
                    loss, figures = self._loss(
                        *(logprobs, reference, chunk, first_update),
                        *(next(known, None), mean_weight),
                    )
                    sums.add(figures)
                    seen.append(logprobs.detach().float())
                    loss = loss / divisor
                else:
                    loss = 0.0 * logprobs.sum()
                self._engine.backward(loss + features.carried() if last else loss)
        return sums, seen

    def _reference_logprobs(self, chunk: RowChunk, features: BatchFeatures) -> torch.Tensor | None:
        if self._reference is None:
            return None
        with torch.no_grad():
            return self._reference(chunk, features)

    def _loss(
        self,
        logprobs: torch.Tensor,
        reference: torch.Tensor | None,
        chunk: RowChunk,
        first_update: bool,
        proximal: torch.Tensor | None,
        mean_weight: float,
    ) -> tuple[torch.Tensor, LossSums]:
        responses = chunk.responses
        if not first_update:
            none = torch.zeros_like(responses.current)
            responses = replace(responses, current=none)
        if proximal is None and self._objective.old_logprobs == "trainer":
            proximal = logprobs.detach()
        return policy_loss(
            *(logprobs, reference, responses, self._objective, self._max_tokens),
            proximal=proximal,
            mean_weight=mean_weight,
        )

    def _batches(self, groups: list[PreparedGroup]) -> list[tuple[PackedBatch, bool]]:
        budget = self._config.trainer.micro_batch_tokens
        return self._same_everywhere(pack(groups, budget, self._packing))

    def _same_everywhere(self, batches: list[PackedBatch]) -> list[tuple[PackedBatch, bool]]:
        """Pad with repeated batches and idle passes, which count as zero, until all have as many.

        Ranks whose parameters or gradients are sharded must make the same number of passes.
        """
        if collective.world() == 1:
            return [(batch, True) for batch in batches]
        (count,) = collective.largest([len(batches)], self._device)
        padded = [(batch, True) for batch in batches]
        # Copies, because each has its own number of idle passes.
        padded += [(replace(batches[-1]), False) for _ in range(count - len(batches))]
        chunks = collective.largest([len(batch.chunks) for batch, _ in padded], self._device)
        for (batch, _), wanted in zip(padded, chunks, strict=True):
            batch.idle_passes = wanted - len(batch.chunks)
        return padded
