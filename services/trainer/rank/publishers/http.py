"""``weights.backend: http``: versions lie in the run folder, whole and as deltas, to be served."""

from collections.abc import Sequence
from pathlib import Path

import torch

from services.trainer.rank.publishers.spool import WeightSpool
from shared.config.connections import WeightsConfig
from shared.weights.manifest import SPOOL_FOLDER, Adapter
from shared.wire.messages import PolicyVersion


class HttpPublisher:
    """Writes what the weight server (``services/trainer/weights``) sends."""

    def __init__(
        self, weights: WeightsConfig, run_dir: Path, url: str, adapter: Adapter | None
    ) -> None:
        self._url = url
        self._spool = WeightSpool(
            run_dir / SPOOL_FOLDER,
            weights.bucket_mib << 20,
            weights.keep_versions,
            chain=weights.delta_chain,
            full_every=weights.full_every,
            adapter=adapter,
        )

    def publish(self, version: PolicyVersion, tensors: Sequence[tuple[str, torch.Tensor]]) -> str:
        """Write a version; its address on the weight server."""
        self._spool.write(version, tensors)
        return f"{self._url}/{version}"
