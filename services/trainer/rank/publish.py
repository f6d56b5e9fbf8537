"""Publishing a policy version beside the next step: written, announced, then its groups settled.

Training only waits while the parameters are copied. One thread of rank 0 does the rest, in an order
that others rely on: a version is announced once it can be fetched, and its groups are settled once
it is announced, which lets the feeder issue new ones: at the new version.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from services.trainer.compute import collective
from services.trainer.compute.deepspeed_engine import full_parameters
from services.trainer.compute.lora import adapter_of
from services.trainer.rank.intake import HeldGroup, drop_refused
from services.trainer.rank.link import Link
from services.trainer.rank.publishers import backend
from services.trainer.rank.spans import trace_publishing
from shared.config import Config
from shared.service.tracing import NO_SPANS, Spans
from shared.wire.board import VersionBoard
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, TrainedResponses

Figures = Mapping[str, TrainedResponses]
"""Group id to what the ranks computed about it."""


class Publisher:
    """Publishes the engine's parameters; every rank calls it alike, rank 0 writes."""

    def __init__(
        self,
        config: Config,
        engine: Any,
        run_dir: Path,
        url: str,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._config = config
        self._engine = engine
        self._spans = spans
        self._backend = backend(config.weights, run_dir, url, adapter_of(config))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publish")
        self._link: Link | None = None
        self._last: Future[None] | None = None

    def publish(
        self,
        version: PolicyVersion,
        trained: list[HeldGroup],
        refused: Sequence[HeldGroup] = (),
        figures: Figures = MappingProxyType({}),
    ) -> None:
        """Publish the parameters as they are now, as `version`.

        Args:
            trained: the groups that this version was trained on, on rank 0.
            refused: the step's other groups, whose updates changed nothing.
            figures: what the ranks computed about the trained groups, for the record.

        Raises:
            WaitTimeout, OSError: of the version before.
        """
        self.finish()
        began = time.time()
        # Under ZeRO 3 each parameter is gathered from all ranks, so all go through them.
        parameters = list(full_parameters(self._engine, keep=collective.is_first()))
        if collective.is_first():
            self._last = self._thread.submit(
                self._deliver, version, parameters, trained, refused, figures, began
            )

    def finish(self) -> None:
        """Wait until the last version is announced and its groups are settled.

        Raises:
            WaitTimeout, OSError: when it could not be.
        """
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def check(self) -> None:
        """Raise what `finish` would raise now, without waiting."""
        if self._last is not None and self._last.done():
            self._last.result()

    def close(self) -> None:
        """Finish, and close the thread's connection."""
        self.finish()
        if self._link is not None:
            self._thread.submit(self._link.close).result()
        self._thread.shutdown()

    def _deliver(
        self,
        version: PolicyVersion,
        parameters: Sequence[tuple[str, torch.Tensor]],
        trained: list[HeldGroup],
        refused: Sequence[HeldGroup],
        figures: Figures,
        began: float,
    ) -> None:
        address = self._backend.publish(version, parameters)
        # A connection belongs to the thread that opens it.
        link = self._link = self._link or Link(self._config)
        board, ledger = VersionBoard(link.client, link.keys), Ledger(link.client, link.keys)
        link.do(lambda: board.announce(version, address))
        trace_publishing(self._spans, trained, version.step, began)
        link.do(lambda: _settle(ledger, trained, version.step, figures))
        link.do(lambda: drop_refused(ledger, link.keys, refused))


async def _settle(ledger: Ledger, trained: list[HeldGroup], step: int, figures: Figures) -> None:
    names = [held.group.group_id for held in trained]
    groups = [
        (name, held.issued_at, held.entry.id, figures.get(name))
        for name, held in zip(names, trained, strict=True)
    ]
    await ledger.train_all(step, groups)
