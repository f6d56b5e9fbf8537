"""One rank of a small training run that measures its own memory, for test_memory_plan.

Started by torchrun with a configuration, overrides of it, and the sizes of the group to train.
Rank 0 prints a JSON object: the bytes of tensors, at each moment, above those before the policy
was loaded.
"""

import json
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import distributed
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.gpu.groups import GroupSize, made_up_group
from services.trainer.compute.policy import Policy
from services.trainer.compute.step import Stepper
from shared.config import load_config


class Meter(TorchDispatchMode):
    """Counts the bytes of all storages that operations have seen and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}

    def see(self, *values: Any) -> None:
        """Count the tensors among `values`."""
        for one in tree_leaves(values):
            if isinstance(one, torch.Tensor) and not one.is_meta:
                self._see(one.untyped_storage())

    def _see(self, storage: torch.UntypedStorage) -> None:
        name = storage._cdata
        if name not in self._sizes:
            self._sizes[name] = storage.nbytes()
            self.live += self._sizes[name]
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._forget, name)

    def _forget(self, name: int) -> None:
        self.live -= self._sizes.pop(name)

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.see(args, kwargs)
        result = function(*args, **(kwargs or {}))
        self.see(result)
        return result


def measure(file: Path, overrides: list[str], size: GroupSize) -> dict[str, int]:
    """Bytes at each moment of the second batch of the second of two steps."""
    config, meter, found = load_config(file, overrides), Meter(), dict[str, int]()

    def mark(moment: str) -> None:
        found[moment], found[f"peak until {moment}"] = meter.live, meter.peak
        meter.peak = meter.live

    with meter:
        policy = Policy(config, torch.device("cpu"))
        engine = policy.engine
        engine.module.train()  # as the training loop does
        group = made_up_group(engine.module.model, size)
        meter.see(group.pixel_values)
        pixels = meter.live
        stepper = Stepper(engine, policy.reference, config, torch.device("cpu"))
        engine.module.register_forward_pre_hook(lambda *_: mark("before forward"))
        engine.module.register_forward_hook(lambda *_: mark("after forward"))
        backward = engine.backward

        def marked(loss: torch.Tensor) -> None:
            backward(loss)
            mark("after backward")

        engine.backward = marked
        for _ in range(2):
            stepper.train([[group, group]])
            mark("after step")
    found["pixels"] = group.pixel_values.untyped_storage().nbytes()
    assert pixels >= found["pixels"]
    return found


def main() -> None:
    """Measure, and print on rank 0."""
    file, size, *overrides = sys.argv[1:]
    deepspeed.init_distributed("gloo", verbose=False)
    found = measure(Path(file), overrides, GroupSize(**json.loads(size)))
    if distributed.get_rank() == 0:
        print(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
