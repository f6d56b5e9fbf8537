"""How a policy version is put where rollout nodes get it: one file a backend, and the spool."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from services.trainer.rank.publishers.filesystem import FilesystemPublisher
from services.trainer.rank.publishers.http import HttpPublisher
from shared.config.connections import WeightsConfig
from shared.weights.manifest import Adapter
from shared.wire.messages import PolicyVersion

Named = Sequence[tuple[str, torch.Tensor]]
"""Name and CPU tensor of each parameter."""


class Backend(Protocol):
    """A way to hand versions over; `weights.backend` names it."""

    def publish(self, version: PolicyVersion, tensors: Named) -> str:
        """Make a version ready to be fetched; the address that is announced.

        Raises:
            OSError: when it cannot be written.
        """


def backend(weights: WeightsConfig, run_dir: Path, url: str, adapter: Adapter | None) -> Backend:
    """The backend that the configuration names.

    Args:
        url: where the run's weights are served, for ``http``.
        adapter: of which the tensors will be; None: they are the policy's weights.
    """
    if weights.backend == "filesystem":
        return FilesystemPublisher(weights, run_dir, adapter)
    return HttpPublisher(weights, run_dir, url, adapter)
