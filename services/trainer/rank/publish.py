"""Publishing a policy version: its weights are written for the nodes to fetch, then announced."""

from pathlib import Path
from typing import Any

from services.trainer.compute import collective
from services.trainer.compute.deepspeed_engine import full_parameters
from services.trainer.rank.link import Link
from services.trainer.rank.spool import WeightSpool
from shared.config.connections import WeightsConfig
from shared.wire.board import VersionBoard
from shared.wire.messages import PolicyVersion


class Publisher:
    """Publishes the engine's parameters; every rank calls it, rank 0 writes."""

    def __init__(
        self, link: Link, config: WeightsConfig, engine: Any, folder: Path, url: str
    ) -> None:
        self._link = link
        self._engine = engine
        self._url = url
        self._spool = WeightSpool(folder, config.bucket_mib << 20, config.keep_versions)
        self._board = VersionBoard(link.client, link.keys)

    def publish(self, version: PolicyVersion) -> None:
        """Write the parameters as they are now, as `version`, and announce it."""
        # Under ZeRO 3 each parameter is gathered from all ranks, so all go through them.
        parameters = full_parameters(self._engine, keep=collective.is_first())
        if collective.is_first():
            self._spool.write(version, parameters)
            self._link.do(lambda: self._board.announce(version, f"{self._url}/{version}"))
        else:
            for _ in parameters:
                pass
