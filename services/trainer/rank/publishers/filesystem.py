"""``weights.backend: filesystem``: versions lie in a folder that every rollout node sees."""

from collections.abc import Sequence
from pathlib import Path

import torch

from services.trainer.rank.publishers.spool import WeightSpool
from shared.config.connections import WeightsConfig
from shared.weights.manifest import SPOOL_FOLDER, Adapter
from shared.wire.messages import PolicyVersion


class FilesystemPublisher:
    """Writes versions that the nodes map where they lie."""

    def __init__(self, weights: WeightsConfig, run_dir: Path, adapter: Adapter | None) -> None:
        self._folder = (weights.folder or run_dir / SPOOL_FOLDER).resolve()
        self._spool = WeightSpool(
            self._folder, weights.bucket_mib << 20, weights.keep_versions, adapter=adapter
        )

    def publish(self, version: PolicyVersion, tensors: Sequence[tuple[str, torch.Tensor]]) -> str:
        """Write a version; its folder's address."""
        self._spool.write(version, tensors)
        return (self._folder / str(version)).as_uri()
