"""Checkpoints as all ranks write and read them together; ``checkpoint_folder.py`` is their disk."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from services.trainer.compute import collective
from services.trainer.compute.deepspeed_engine import checkpoint_bytes, load_state, save_state
from services.trainer.rank.checkpoint_folder import (
    ENGINE_TAG,
    CheckpointFolder,
    CheckpointState,
)
from services.trainer.rank.link import Link
from shared.config.trainer import CheckpointConfig
from shared.errors import UserError
from shared.records.evaluations import best_step
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion
from shared.wire.runstate import RunState
from shared.wire.verdicts import Verdicts

logger = logging.getLogger(__name__)


class Checkpoints:
    """Writes and restores checkpoints; every rank calls it alike."""

    def __init__(
        self,
        link: Link,
        engine: Any,
        run_dir: Path,
        settings: CheckpointConfig,
        device: torch.device,
    ) -> None:
        self._link = link
        self._engine = engine
        self._run_dir = run_dir
        self._keep_best = settings.keep_best
        self._device = device
        self._folder = CheckpointFolder(run_dir / "checkpoints", settings.keep)
        self._state = RunState(link.client, link.keys)
        self._ledger = Ledger(link.client, link.keys)
        self._verdicts = Verdicts(link.client, link.keys)
        self._sealer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="seal")
        self._sealing: Future[Path] | None = None

    def restore(self) -> int:
        """Load the newest checkpoint; its step, 0 when there is none.

        Raises:
            UserError: when this host does not see the checkpoint, or DeepSpeed cannot read it.
        """
        # Rank 0 chooses for all: another host may see a new checkpoint later, or never.
        found = self._folder.latest() if collective.is_first() else None
        chosen = [-1 if found is None else found[1].step] if collective.is_first() else None
        [step] = collective.broadcast_integers(chosen, self._device)
        if step < 0:
            return 0
        folder = self._folder.of_step(step)
        if not load_state(self._engine, folder, ENGINE_TAG):
            raise UserError(
                f"{folder}: DeepSpeed finds no state in it; delete it to go further back"
            )
        logger.info("resumed from %s", folder.name)
        return step

    def write(self, version: PolicyVersion, needed: bool = False) -> None:
        """Write a checkpoint of this step; it counts once every rank has written its part.

        Rank 0 seals it while training goes on: reading, hashing and syncing hundreds of gigabytes
        takes longer than ranks should wait for each other. Until then the one before counts.

        Args:
            needed: fail when the disk is too full. Otherwise training continues without this
                checkpoint, and the next one is tried when it is due.

        Raises:
            UserError: when the checkpoint is needed and the disk is too full.
        """
        self.finish()
        if not self._has_room(version, needed):
            return
        if collective.is_first():
            self._folder.begin()
        torch.distributed.barrier()
        save_state(self._engine, self._folder.unfinished(), ENGINE_TAG)
        torch.distributed.barrier()
        if collective.is_first():
            account = self._link.do(self._account)
            state = CheckpointState(version.incarnation, version.step, *account)
            self._sealing = self._sealer.submit(self._folder.commit, state, self._spared())

    def _spared(self) -> set[int]:
        """The steps of the best checkpoint so far, and of the one that is being evaluated."""
        if not self._keep_best:
            return set()
        best = best_step(self._run_dir, self._folder.steps())
        evaluating = self._link.do(self._state.get).evaluating
        return {step for step in (best, evaluating) if step}

    async def _account(self) -> tuple[dict[str, str], dict[str, str], dict[str, int]]:
        """Settled groups, verdicts and skipped groups, as `CheckpointState` has them."""
        settled = await self._ledger.settled()
        # After the settled groups: there is a verdict on each of them.
        verdicts = await self._verdicts.all()
        return settled, verdicts, (await self._ledger.counts()).skipped

    def finish(self) -> None:
        """Wait until the last checkpoint is sealed; ranks other than 0 have nothing to wait for.

        Raises:
            OSError: when it could not be sealed.
        """
        if self._sealing is not None:
            sealing, self._sealing = self._sealing, None
            sealing.result()

    def _has_room(self, version: PolicyVersion, needed: bool) -> bool:
        """Whether the disk has room for a checkpoint, as rank 0 finds it."""
        missing = None
        if collective.is_first():
            missing = [self._folder.room_missing(checkpoint_bytes(self._engine))]
        [lacking] = collective.broadcast_integers(missing, self._device)
        if lacking == 0:
            return True
        problem = (
            f"{self._folder.folder}: the disk lacks {lacking / 2**30:.2f} GiB for the "
            f"checkpoint of step {version.step}; make room there"
        )
        if needed:
            raise UserError(problem)
        if collective.is_first():
            logger.error("%s; training continues without it", problem)
        return False
