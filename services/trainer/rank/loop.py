"""One DeepSpeed rank: waits for groups, trains them, publishes weights, writes checkpoints.

Started by torchrun. Rank 0 talks to Redis for all; the others read the groups it names. The order
at the end of a step is: publish the new version, settle the step's groups in the ledger (which
makes the feeder issue more, at the new version), then report and checkpoint.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from services.trainer.compute import collective
from services.trainer.compute.canary import has_pictures, is_alarm
from services.trainer.compute.deepspeed_engine import (
    checkpoint_bytes,
    full_parameters,
    shard_while_loading,
    start_policy,
    start_reference,
)
from services.trainer.compute.loss import LossSums
from services.trainer.compute.model import GroupModel, load_model
from services.trainer.compute.packing import PreparedGroup
from services.trainer.compute.prepare import GroupPreparer
from services.trainer.compute.step import Stepper
from services.trainer.rank.checkpoints import CheckpointFolder, CheckpointState
from services.trainer.rank.deal import deal_groups
from services.trainer.rank.guards import MismatchGuard
from services.trainer.rank.intake import HeldGroup, Intake
from services.trainer.rank.metrics import StepTimes, step_metrics
from services.trainer.rank.spool import WeightSpool
from shared.config import Config
from shared.errors import UserError
from shared.service.connection import Patience, connect
from shared.wire.board import VersionBoard
from shared.wire.image_store import ImageStore
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, ScoredGroup, decode
from shared.wire.runstate import RunState

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSE_POLL_S = 1.0


class Rank:
    """The state of one rank over a run."""

    def __init__(self, config: Config, run_dir: Path, incarnation: int, weights_url: str) -> None:
        self._config = config
        self._run_dir = run_dir
        self._weights_url = weights_url
        self._device = torch.device(
            f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
        )
        self._runner = asyncio.Runner()
        self._is_main = collective.rank() == 0
        assert config.redis.url is not None
        client = self._runner.run(
            connect(
                config.redis.url, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file
            )
        )
        self._patient = Patience(client, "trainer", config.redis.timeout_s)
        self._keys = Keys(config.run)
        self._client = client
        self._state = RunState(client, self._keys)
        self._board = VersionBoard(client, self._keys)
        self._ledger = Ledger(client, self._keys)
        self._intake = Intake(client, self._keys, config, incarnation)
        self._images = ImageStore(
            client, self._keys, config.data.max_image_pixels, cache_bytes=64 << 20
        )
        weights = config.weights
        self._spool = WeightSpool(
            run_dir / "weights", weights.bucket_mib << 20, weights.keep_versions
        )
        self._checkpoints = CheckpointFolder(
            run_dir / "checkpoints", config.trainer.checkpoint.keep
        )
        self._mismatch_guard = MismatchGuard(config.trainer.guard)
        self._alarms = 0
        self.version = PolicyVersion(incarnation=incarnation, step=0)
        self._load()

    def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run work that may be repeated, again after a restart of Redis."""
        return self._runner.run(self._patient(work))

    def _load(self) -> None:
        config = self._config
        with shard_while_loading(config):
            policy = load_model(config.model.path, config)
            wants_reference = config.trainer.objective.kl_coef > 0
            reference = load_model(config.model.path, config) if wants_reference else None
        if config.trainer.gradient_checkpointing:
            policy.gradient_checkpointing_enable({"use_reentrant": False})
        self._model = policy
        self._preparer = GroupPreparer(config, policy)
        group_model = GroupModel(policy, config.sampling.temperature, config.trainer.freeze_vision)
        self._engine = start_policy(group_model.to(self._device), config)
        frozen = None
        if reference is not None:
            frozen = start_reference(
                GroupModel(reference, config.sampling.temperature).to(self._device), config
            )
        self._stepper = Stepper(self._engine, frozen, config, self._device)
        self._resume()

    def _resume(self) -> None:
        # One that rank 0 names: another host may see a new checkpoint later, or never.
        step = self._agreed_checkpoint()
        if step < 0:
            return
        folder = self._checkpoints.of_step(step)
        path, _ = self._engine.load_checkpoint(str(folder), tag="engine")
        if path is None:
            raise UserError(
                f"{folder}: DeepSpeed finds no state in it; delete it to go further back"
            )
        self.version = PolicyVersion(incarnation=self.version.incarnation, step=step)
        logger.info("resumed from %s", folder.name)

    def _agreed_checkpoint(self) -> int:
        """The step to resume from, -1 to start afresh: on every rank what rank 0 finds."""
        found = self._checkpoints.latest() if self._is_main else None
        mine = [-1 if found is None else found[1].step] if self._is_main else None
        [step] = collective.broadcast_integers(mine, self._device)
        return step

    def run(self) -> None:
        """Train until the configured number of steps is reached or the operator says stop."""
        if self._is_main:
            self._do(self._intake.tally.begin)
        self.publish()
        steps = self._config.trainer.steps
        while self.version.step < steps and self._go_on():
            self._train_one_step()
        self.checkpoint(needed=True)
        self._save_policy()
        if self._is_main:
            # A run that was stopped early goes on from here.
            self._phase("done" if self.version.step >= steps else "paused")

    def _phase(self, phase: str, detail: str = "") -> None:
        if self._is_main:
            self._do(
                lambda: self._state.update(
                    phase=phase,
                    detail=detail,
                    step=self.version.step,
                    steps=self._config.trainer.steps,
                    incarnation=self.version.incarnation,
                )
            )

    def _go_on(self) -> bool:
        """Carry out what the operator asked for; False to stop."""
        while True:
            wishes = self._agreed_wishes()
            if "checkpoint" in wishes:
                self.checkpoint()
            if "stop" in wishes:
                return False
            if "pause" not in wishes:
                return True
            self._phase("paused", "POST /control/resume to go on")
            if self._is_main:
                self._runner.run(asyncio.sleep(_PAUSE_POLL_S))

    def _agreed_wishes(self) -> set[str]:
        names = ["checkpoint", "pause", "stop"]
        asked = self._do(self._state.wishes) if self._is_main else set()
        flags = [int(name in asked) for name in names] if self._is_main else None
        if self._is_main and "checkpoint" in asked:
            self._do(lambda: self._state.ask("checkpoint", False))
        agreed = collective.broadcast_integers(flags, self._device)
        return {name for name, flag in zip(names, agreed, strict=True) if flag}

    def _train_one_step(self) -> None:
        times = StepTimes()
        self._phase("waiting for groups")
        batch = self._do(lambda: self._intake.batch(self.version)) if self._is_main else []
        times.waited()
        self._phase("training")
        mine = self._my_groups(batch)
        minibatches = [[self._prepare(group) for group in groups] for groups in mine]
        canary = self._canary([group for groups in minibatches for group in groups])
        sums, grad_norm = self._stepper.train(minibatches)
        times.trained()
        guards = self._watch(sums, canary)
        sampled_at = self.version
        self.version = PolicyVersion(incarnation=sampled_at.incarnation, step=sampled_at.step + 1)
        self.publish()
        times.published()
        if self._is_main:
            self._do(lambda: self._intake.trained(batch, self.version.step))
            self._report(batch, sums, grad_norm, times, sampled_at, guards)
        every = self._config.trainer.checkpoint.every_steps
        if self.version.step % every == 0 and self.version.step < self._config.trainer.steps:
            self.checkpoint()

    def _canary(self, groups: list[PreparedGroup]) -> float | None:
        """The reaction of the first group with pictures, in the steps that are due for it."""
        every = self._config.trainer.guard.canary_every_steps
        due = every > 0 and (self.version.step + 1) % every == 0
        shown = next(filter(has_pictures, groups), groups[0])
        return self._stepper.canary(shown) if due else None

    def _watch(self, sums: LossSums, canary: float | None) -> dict[str, float | None]:
        """Judge the step's figures, equal on every rank, before its weights are published.

        Raises:
            GuardStop: on every rank.
        """
        step = self.version.step + 1
        mismatch = sums.mismatch_abs / sums.mismatch_tokens if sums.mismatch_tokens else None
        self._alarms += int(self._mismatch_guard.watch(step, mismatch))
        if canary is not None:
            self._alarms += int(is_alarm(step, canary, self._config.trainer.guard))
        if self._is_main:
            found = {"logprob_mismatch": mismatch, "canary_change": canary}
            known = {name: value for name, value in found.items() if value is not None}
            self._do(lambda: self._state.update(guard_alarms=self._alarms, **known))
        return {"canary_change": canary, "guard_alarms": self._alarms}

    def _my_groups(self, batch: list[HeldGroup]) -> list[list[ScoredGroup]]:
        """This rank's groups of each minibatch; rank 0 shares them out by stream entry."""
        trainer = self._config.trainer
        shared = None
        if self._is_main:
            shared = deal_groups(
                [(held.entry.id, held.group.response_tokens()) for held in batch],
                trainer.minibatch_groups or trainer.groups_per_step,
                collective.world(),
            )
        numbers = collective.broadcast_integers(shared, self._device)
        return self._do(lambda: self._fetch(numbers))

    async def _fetch(self, numbers: list[int]) -> list[list[ScoredGroup]]:
        world, rank = collective.world(), collective.rank()
        trainer = self._config.trainer
        per_minibatch = trainer.minibatch_groups or trainer.groups_per_step
        entries = [f"{ms}-{seq}" for ms, seq in zip(numbers[::2], numbers[1::2], strict=True)]
        groups: list[list[ScoredGroup]] = []
        for start in range(0, len(entries), per_minibatch):
            ids = entries[start : start + per_minibatch][rank::world]
            groups.append([await self._fetch_group(entry_id) for entry_id in ids])
        return groups

    async def _fetch_group(self, entry_id: str) -> ScoredGroup:
        found = await self._client.xrange(self._keys.groups, min=entry_id, max=entry_id)
        return decode(ScoredGroup, found[0][1][b"m"])

    def _prepare(self, group: ScoredGroup) -> PreparedGroup:
        names = list(dict.fromkeys(n for o in group.orders for n in o.batch.task.trained_images()))
        pictures: list[Image.Image] = self._do(lambda: self._images.get(names))
        return self._preparer.prepare(group, dict(zip(names, pictures, strict=True)), self.version)

    def _report(
        self,
        batch: list[HeldGroup],
        sums: LossSums,
        grad_norm: float | None,
        times: StepTimes,
        sampled_at: PolicyVersion,
        guards: dict[str, float | None],
    ) -> None:
        groups = [held.group for held in batch]
        objective = self._config.trainer.objective
        report = step_metrics(
            self.version.step, groups, sums, grad_norm, times, sampled_at, objective
        )
        report |= guards
        # Reward and accuracy so far are of the groups that were kept; these are of all groups.
        report |= self._do(lambda: self._intake.tally.close(len(batch)))
        with (self._run_dir / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps(report) + "\n")
        logger.info(
            "step %d: reward %.3f, accuracy %.3f, waited %.1f s, trained %.1f s",
            report["step"],
            report["reward"],
            report["accuracy"],
            report["wait_s"],
            report["train_s"],
        )

    def publish(self) -> None:
        """Write the weights of the current version and announce it."""
        self._phase("publishing")
        tensors = full_parameters(self._engine, keep=self._is_main)
        if self._is_main:
            self._spool.write(self.version, tensors)
            url = f"{self._weights_url}/{self.version}"
            self._do(lambda: self._board.announce(self.version, url))
        else:
            for _ in tensors:
                pass

    def checkpoint(self, needed: bool = False) -> None:
        """Write a checkpoint of this step; it counts once every rank has written its part.

        Args:
            needed: fail when the disk is too full; otherwise training goes on without it, and the
                next one is tried when it is due.
        """
        self._phase("checkpointing")
        if self._no_room(needed):
            return
        if self._is_main:
            self._checkpoints.begin()
        torch.distributed.barrier()
        self._engine.save_checkpoint(
            str(self._checkpoints.unfinished()), tag="engine", save_latest=False
        )
        torch.distributed.barrier()
        if self._is_main:
            settled = self._do(self._ledger.settled)
            self._checkpoints.commit(
                CheckpointState(self.version.incarnation, self.version.step, settled)
            )
        torch.distributed.barrier()

    def _no_room(self, needed: bool) -> bool:
        """Whether the disk is too full for a checkpoint, as rank 0 finds it."""
        missing = None
        if self._is_main:
            missing = [self._checkpoints.room_missing(checkpoint_bytes(self._engine))]
        [lacking] = collective.broadcast_integers(missing, self._device)
        if lacking == 0:
            return False
        problem = (
            f"{self._checkpoints.folder}: the disk lacks {lacking / 2**30:.2f} GiB for the "
            f"checkpoint of step {self.version.step}; make room there"
        )
        if needed:
            raise UserError(problem)
        if self._is_main:
            logger.error("%s; training goes on without it", problem)
        return True

    def _save_policy(self) -> None:
        """Write the final model, loadable with ``from_pretrained``, with its processor."""
        tensors = dict(full_parameters(self._engine, keep=self._is_main))
        if self._is_main:
            self._model.save_pretrained(self._run_dir / "policy", state_dict=tensors)
            self._preparer.save(self._run_dir / "policy")
        torch.distributed.barrier()

    def close(self) -> None:
        """Close the connection to Redis."""
        self._runner.run(self._client.aclose())
        self._runner.close()
