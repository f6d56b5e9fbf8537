"""One training step of this rank: from prepared groups to optimizer updates."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import nn

from services.trainer.compute import collective
from services.trainer.compute.canary import exchanged, has_pictures, reaction
from services.trainer.compute.deepspeed_engine import apply_gradients
from services.trainer.compute.importance import importance_weights, mean_terms
from services.trainer.compute.loss import LossSums, normaliser, policy_loss
from services.trainer.compute.packing import PackedBatch, PreparedGroup, pack
from shared.config import Config


@dataclass(frozen=True)
class Updates:
    """What the updates of one step did; equal on every rank."""

    sums: LossSums
    """Over all ranks, of the updates that were made."""
    grad_norm: float | None
    """Of the last update that was made; None when none was."""
    refused: tuple[int, ...]
    """Numbers of the updates, from 0, that changed nothing: their gradient norm was not finite."""


class Stepper:
    """Runs the forward and backward passes and the optimizer for lists of prepared groups."""

    def __init__(
        self, engine: Any, reference: nn.Module | None, config: Config, device: torch.device
    ) -> None:
        self._engine = engine
        self._reference = reference
        self._config = config
        self._objective = config.trainer.objective
        self._max_tokens = config.sampling.max_tokens
        self._device = device

    def train(self, minibatches: list[list[PreparedGroup]]) -> Updates:
        """One optimizer update for each minibatch of this rank's groups.

        Every rank calls it with as many minibatches of as many groups.
        """
        sums, norm, refused = LossSums(), None, []
        budget = self._config.trainer.micro_batch_tokens
        updates: Iterable[list[tuple[PackedBatch, bool]]] = (
            self._same_everywhere(pack(groups, budget)) for groups in minibatches
        )
        proximal: list[list[torch.Tensor] | None] = [None] * len(minibatches)
        if self._objective.old_logprobs == "trainer":
            # Taken before the first update: the later updates' ratios are relative to these.
            first, *later = updates
            proximal[1:] = [self._proximal(batches) for batches in later]
            if self._objective.importance_normalise:
                proximal[0] = self._proximal(first)
            updates = chain([first], later)
        for number, batches in enumerate(updates):
            found = self._accumulate(batches, number == 0, proximal[number])
            update_norm = apply_gradients(self._engine)
            if math.isfinite(update_norm):
                norm = update_norm
                sums.add(found)
            else:
                refused.append(number)
        return Updates(collective.total(sums, self._device), norm, tuple(refused))

    def _accumulate(
        self,
        batches: list[tuple[PackedBatch, bool]],
        first_update: bool,
        proximal: list[torch.Tensor] | None,
    ) -> LossSums:
        """Accumulate one update's gradients; the sums over this rank's responses."""
        sums, divisor = LossSums(), self._divisor(batches)
        mean_weight = self._mean_weight(batches, proximal)
        for index, (batch, real) in enumerate(batches):
            self._engine.set_gradient_accumulation_boundary(index == len(batches) - 1)
            old = None if proximal is None else proximal[index]
            figures = self._backward(batch, divisor, real, first_update, old, mean_weight)
            if real:
                sums.add(figures)
        return sums

    def _proximal(self, batches: list[tuple[PackedBatch, bool]]) -> list[torch.Tensor]:
        """The policy's log-probabilities of each batch, as it is now."""
        self._engine.eval()
        with torch.no_grad():
            found = [self._engine(batch.to(self._device)) for batch, _ in batches]
        self._engine.train()
        return found

    def _divisor(self, batches: list[tuple[PackedBatch, bool]]) -> float:
        """The divisor of this rank's summed loss.

        With it, DeepSpeed's mean over the ranks is the gradient of one rank with all responses.
        """
        own = [batch for batch, real in batches if real]
        counts = [float(sum(len(one.lengths) for one in own))]
        counts.append(float(sum(len(one.response) for one in own)))
        responses, tokens = collective.added(counts, self._device)
        return normaliser(responses, tokens, self._objective) / collective.world()

    def _mean_weight(
        self, batches: list[tuple[PackedBatch, bool]], proximal: list[torch.Tensor] | None
    ) -> float:
        """The mean importance weight of the update over all ranks, where it is divided by."""
        if proximal is None or not self._objective.importance_normalise:
            return 1.0
        total, count = 0.0, 0.0
        for (batch, real), old in zip(batches, proximal, strict=True):
            if real:
                batch = batch.to(self._device)
                weights, _ = importance_weights(old, batch, self._objective)
                terms = mean_terms(weights, batch, self._objective)
                total, count = total + terms[0], count + terms[1]
        total, count = collective.added([total, count], self._device)
        # With every response masked all weights are 0, whatever they are divided by.
        return total / count if total else 1.0

    def canary(self, group: PreparedGroup) -> float | None:
        """How much log-probabilities change with other pictures: mean absolute change a token.

        Every rank calls it with one of its groups, and all make the same passes. None when no
        rank's group has pictures.
        """
        budget = self._config.trainer.micro_batch_tokens
        pair = [
            [batch.to(self._device) for batch, _ in self._same_everywhere(pack([one], budget))]
            for one in (group, exchanged(group))
        ]
        self._engine.eval()
        change, tokens = reaction(self._engine, *pair)
        self._engine.train()
        counts = [change, float(tokens)] if has_pictures(group) else [0.0, 0.0]
        change, seen = collective.added(counts, self._device)
        return change / seen if seen else None

    def _backward(
        self,
        batch: PackedBatch,
        divisor: float,
        real: bool,
        first_update: bool,
        proximal: torch.Tensor | None,
        mean_weight: float,
    ) -> LossSums:
        batch = batch.to(self._device)
        if not first_update:
            batch.current = torch.zeros_like(batch.current)
        reference = None
        if self._reference is not None:
            with torch.no_grad():
                reference = self._reference(batch)
        logprobs = self._engine(batch)
        if proximal is None and self._objective.old_logprobs == "trainer":
            proximal = logprobs.detach()
        loss, sums = policy_loss(
            *(logprobs, reference, batch, self._objective, self._max_tokens),
            proximal=proximal,
            mean_weight=mean_weight,
        )
        self._engine.backward(loss / divisor if real else loss * 0.0)
        return sums

    def _same_everywhere(self, batches: list[PackedBatch]) -> list[tuple[PackedBatch, bool]]:
        """Pad with repeated batches and chunks, which count as zero, until all ranks have as many.

        Ranks whose parameters or gradients are sharded must make the same number of passes.
        """
        if collective.world() == 1:
            return [(batch, True) for batch in batches]
        (count,) = collective.largest([len(batches)], self._device)
        padded = [(batch, True) for batch in batches]
        # Copies, because each has its own number of idle chunks.
        padded += [(replace(batches[-1]), False) for _ in range(count - len(batches))]
        chunks = collective.largest([len(batch.chunks) for batch, _ in padded], self._device)
        for (batch, _), wanted in zip(padded, chunks, strict=True):
            batch.idle_chunks = wanted - len(batch.chunks)
        return padded
