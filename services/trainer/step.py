"""One training step: this rank's share of the groups, from tensors to optimizer updates."""

from typing import Any

import torch
from torch import nn

from services.trainer import collective
from services.trainer.loss import LossSums, policy_loss
from services.trainer.packing import PackedBatch, PreparedGroup, pack
from shared.config import Config


class Stepper:
    """Runs the forward and backward passes and the optimizer for lists of prepared groups."""

    def __init__(
        self, engine: Any, reference: nn.Module | None, config: Config, device: torch.device
    ) -> None:
        self._engine = engine
        self._reference = reference
        self._config = config
        self._device = device

    def train(self, minibatches: list[list[PreparedGroup]]) -> tuple[LossSums, float | None]:
        """One optimizer update for each minibatch of this rank's groups.

        Every rank calls it with as many minibatches of as many groups.

        Returns:
            The sums over all ranks, and the gradient norm of the last update, where DeepSpeed
            tells it (not under ZeRO stage 0 in fp32).
        """
        sums = LossSums()
        for number, groups in enumerate(minibatches):
            batches = self._same_everywhere(pack(groups, self._config.trainer.micro_batch_tokens))
            for index, (batch, real) in enumerate(batches):
                self._engine.set_gradient_accumulation_boundary(index == len(batches) - 1)
                batch_sums = self._backward(batch, len(groups), real, first_update=number == 0)
                if real:
                    sums.add(batch_sums)
            self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return collective.total(sums, self._device), None if norm is None else float(norm)

    def _backward(
        self, batch: PackedBatch, groups: int, real: bool, first_update: bool
    ) -> LossSums:
        batch = batch.to(self._device)
        if not first_update:
            batch.current = torch.zeros_like(batch.current)
        reference = None
        if self._reference is not None:
            with torch.no_grad():
                reference = self._reference(batch)
        logprobs = self._engine(batch)
        loss, sums = policy_loss(logprobs, reference, batch, self._config.trainer.objective)
        # DeepSpeed averages gradients over ranks; each has `groups` groups of equally many answers.
        orders = self._config.permutation.n_s + 1
        whole = orders * self._config.sampling.n
        responses = groups * (self._config.trainer.selection.keep or whole)
        self._engine.backward(loss / responses if real else loss * 0.0)
        return sums

    def _same_everywhere(self, batches: list[PackedBatch]) -> list[tuple[PackedBatch, bool]]:
        """Pad with repeated batches and chunks, which count nothing, until all ranks have as many.

        Ranks whose parameters or gradients are sharded must make the same number of passes.
        """
        if collective.world() == 1:
            return [(batch, True) for batch in batches]
        (count,) = collective.largest([len(batches)], self._device)
        padded = [(batch, True) for batch in batches]
        padded += [(batches[-1], False)] * (count - len(batches))
        chunks = collective.largest([len(batch.chunks) for batch, _ in padded], self._device)
        for (batch, _), wanted in zip(padded, chunks, strict=True):
            batch.idle_chunks = wanted - len(batch.chunks)
        return padded
