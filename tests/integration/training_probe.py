"""One rank of a small training run without Redis: two updates under each of several settings.

Started by torchrun with a folder that holds ``config.yaml`` and ``cases.json``, which has a list of
overrides by the name of each case. For each case rank 0 leaves ``NAME.pt``: the sums of the loss,
each parameter's gradient in both updates, the number types, and how often the layers of each
kind were called, and whether a checkpoint was resumed from.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.utils import safe_get_full_grad
from torch import distributed
from transformers import GradientCheckpointingLayer

from services.trainer.compute.deepspeed_engine import full_parameters, load_state, save_state
from services.trainer.compute.packing import PreparedGroup
from services.trainer.compute.policy import Policy
from services.trainer.compute.step import Stepper
from shared.config import Config, load_config
from tests.prepared_groups import prepared_group

CPU = torch.device("cpu")


def minibatches(model: Any, rank: int) -> list[list[PreparedGroup]]:
    """Two updates of two groups; rank 0's are of many chunks, some of rank 1's show no image."""
    rng = torch.Generator().manual_seed(rank)
    orders = [(0, 1, 2), (2, 1, 0), (1, 2, 0)]
    large = prepared_group(model, rng, (3, orders), responses=[6, 2, 5])
    small = prepared_group(model, rng, (1, [(0,), (0,)]), responses=[4, 1])
    text = prepared_group(model, rng, (1, [(), ()]), responses=[3, 6])
    return [[large, small], [small, large]] if rank == 0 else [[text, small], [small, text]]


class Recorder:
    """An engine that keeps each update's gradients."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.gradients: list[dict[str, torch.Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def __call__(self, *inputs: Any) -> torch.Tensor:
        return self._engine(*inputs)

    def step(self) -> None:
        """Keep the gradients, averaged over the ranks, and update the weights."""
        named = self._engine.module.model.named_parameters()
        gradients = {name: safe_get_full_grad(one) for name, one in named if one.requires_grad}
        self.gradients.append({name: one.float().clone() for name, one in gradients.items()})
        self._engine.step()


def probe(config: Config, folder: Path) -> dict[str, Any]:
    """Train, write a checkpoint to `folder` and resume from it; what this rank saw."""
    policy = Policy(config, CPU)
    calls: Counter[str] = Counter()
    for layer in policy.engine.module.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.register_forward_pre_hook(lambda one, *_: calls.update([type(one).__name__]))
    recorder = Recorder(policy.engine)
    stepper = Stepper(recorder, policy.reference, config, CPU, policy.packing)
    updates = stepper.train(minibatches(policy.engine.module.model, distributed.get_rank()))
    save_state(policy.engine, folder, "engine")
    again = Policy(config, CPU)
    resumed = load_state(again.engine, folder, "engine")
    parameters, resumed_parameters = (
        {name: one.clone() for name, one in full_parameters(engine, keep=True)}
        for engine in (policy.engine, again.engine)
    )
    types = [*policy.engine.get_data_types(), policy.engine.communication_data_type]
    return {
        "sums": vars(updates.sums),
        "gradients": recorder.gradients,
        "calls": dict(calls),
        "types": types,
        "resumed": resumed,
        "parameters": parameters,
        "resumed_parameters": resumed_parameters,
        "logprobs": updates.logprobs,
    }


def main() -> None:
    """Probe every case."""
    folder = Path(sys.argv[1])
    cases = json.loads((folder / "cases.json").read_text())
    deepspeed.init_distributed("gloo", verbose=False)
    for name, overrides in cases.items():
        found = probe(load_config(folder / "config.yaml", overrides), folder / name)
        if distributed.get_rank() == 0:
            torch.save(found, folder / f"{name}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
