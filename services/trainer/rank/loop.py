"""The training loop: each step waits for groups, trains them, publishes the weights.

Every rank runs it. Rank 0 talks to Redis for all of them, and broadcasts what the others have to
know. A step's version is written and announced, and its groups are settled in the ledger, while the
next step trains (``publish.py``).
"""

import logging
import time
from pathlib import Path
from typing import Any

import torch

from services.trainer.compute import collective
from services.trainer.compute.policy import Policy
from services.trainer.compute.step import Stepper, Updates
from services.trainer.rank.budget import Budget
from services.trainer.rank.checkpoints import Checkpoints
from services.trainer.rank.collect import Collector
from services.trainer.rank.evaluated import NewEvaluations
from services.trainer.rank.fetch import GroupFetcher
from services.trainer.rank.guards import GuardFigures, StepGuards
from services.trainer.rank.history import keep_until
from services.trainer.rank.idle import IdleShares
from services.trainer.rank.intake import HeldGroup, drop_refused
from services.trainer.rank.link import Link
from services.trainer.rank.metrics import StepTimes, step_metrics, write_metrics
from services.trainer.rank.operator import Operator
from services.trainer.rank.publish import Publisher
from services.trainer.rank.spans import trace_step
from services.trainer.rank.tally import StepTally
from services.trainer.rank.trained import trained_responses
from shared.config import Config
from shared.records.steps import METRICS
from shared.seeds import derive
from shared.service.tracing import NO_SPANS, Spans
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, TrainedResponses

logger = logging.getLogger(__name__)

_PAUSE_POLL_S = 1.0


class TrainingLoop:
    """One rank of a run, from its last checkpoint to its last step."""

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        incarnation: int,
        weights_url: str,
        link: Link,
        policy: Policy,
        spans: Spans = NO_SPANS,
    ) -> None:
        trainer, device = config.trainer, policy.device
        self._config = config
        self._run_dir = run_dir
        self._link = link
        self._policy = policy
        self._spans = spans
        self._operator = Operator(link, trainer.steps, device)
        self._collector = (
            Collector(config, incarnation, collective.world()) if collective.is_first() else None
        )
        self._tally = StepTally(link.client, link.keys)
        self._budget = Budget(config, link, device)
        self._groups = GroupFetcher(config, incarnation, policy.preparer, device)
        self._idle = IdleShares(link.client, link.keys)
        self._ended: float | None = None
        """When the last step ended."""
        self._stepper = Stepper(policy.engine, policy.reference, config, device, policy.packing)
        self._guards = StepGuards(trainer.guard, self._stepper)
        self._publisher = Publisher(config, policy.engine, run_dir, weights_url, spans)
        self._checkpoints = Checkpoints(link, policy.engine, run_dir, trainer.checkpoint, device)
        self.version = PolicyVersion(incarnation=incarnation, step=self._checkpoints.restore())
        if collective.is_first():
            keep_until(run_dir, self.version.step)
        self._evaluated = NewEvaluations(run_dir)

    def run(self) -> None:
        """Train until the last step, until the budget is spent, or the operator says stop."""
        if collective.is_first():
            self._link.do(self._tally.begin)
        self._publish([], [], {})
        done = self._is_last(self.version)
        while not done and self._may_continue():
            self._train_one_step()
            done = self._is_last(self.version)
        self._checkpoint(needed=True)
        self._policy.save(self._run_dir / "policy")
        self._publisher.close()
        self._groups.close()
        if self._collector is not None:
            self._collector.close()
        self._checkpoints.finish()
        # A run that was stopped early can be resumed from here.
        self._operator.report("done" if done else "paused", self.version)

    def _is_last(self, version: PolicyVersion) -> bool:
        """Whether no step follows; asked by every rank alike."""
        if version.step < self._config.trainer.steps and not self._budget.spent(version.step):
            return False
        self._operator.ends_at(version.step)
        return True

    def _train_one_step(self) -> None:
        times, trained = StepTimes(), self.version
        batch = self._wait_for_groups()
        times.waited(self._collector.first_sampled if self._collector is not None else None)
        self._operator.report("training", trained)
        began = time.time()
        minibatches = self._groups.minibatches(batch, trained)
        if not minibatches:
            return
        self._get_ahead()
        self._guards.before(trained.step + 1, [one for groups in minibatches for one in groups])
        # An adapter's dropout must not depend on when this rank was started.
        torch.manual_seed(derive(self._config.seed, "step", trained.step, collective.rank()))
        updates = self._stepper.train(minibatches)
        times.trained()
        trace_step(self._spans, batch, trained.step + 1, began, time.time())
        computed = self._computed(batch, updates, trained)
        batch, refused = self._shared_out(batch, updates, len(minibatches))
        figures = self._guards.after(trained.step + 1, updates)
        self._operator.report_figures(**figures.shown())
        if self._spans.on:
            self._operator.report_figures(spans_dropped=self._spans.dropped)
        if len(updates.refused) == len(minibatches):
            # The policy is what it was: other groups take the place of the dropped ones.
            if collective.is_first():
                ledger = Ledger(self._link.client, self._link.keys)
                self._link.do(lambda: drop_refused(ledger, self._link.keys, refused))
            return
        self.version = PolicyVersion(incarnation=trained.incarnation, step=trained.step + 1)
        self._publish(batch, refused, computed)
        times.published()
        if collective.is_first():
            self._write_metrics(batch, updates, times, trained, figures)
        if self._checkpoint_is_due():
            self._checkpoint()

    def _wait_for_groups(self) -> list[HeldGroup]:
        """The next step's groups, on rank 0; the others get theirs from `GroupFetcher`.

        There are none when the operator asks for a stop meanwhile.
        """
        self._operator.report("waiting for groups", self.version)
        self._groups.prepare_ahead(self.version)
        if self._collector is None:
            return []
        return self._collector.batch(self.version, self._publisher.check)

    def _get_ahead(self) -> None:
        """Begin to collect and prepare the next step's groups, beside the step in hand."""
        upcoming = PolicyVersion(incarnation=self.version.incarnation, step=self.version.step + 1)
        if upcoming.step == self._config.trainer.steps:
            return
        if self._collector is not None:
            self._collector.gather(upcoming)
        self._groups.prepare_ahead(upcoming)

    def _shared_out(
        self, batch: list[HeldGroup], updates: Updates, count: int
    ) -> tuple[list[HeldGroup], list[HeldGroup]]:
        """The groups of the updates that were made, and those of refused ones; none but on rank 0.

        Args:
            count: the step's updates; each had as many groups, in the order of `batch`.
        """
        size = len(batch) // count
        trained: list[HeldGroup] = []
        refused: list[HeldGroup] = []
        for number in range(count):
            side = refused if number in updates.refused else trained
            side += batch[number * size : (number + 1) * size]
        if refused:
            logger.error(
                "step %d: an update's gradient norm is not finite; it changes nothing, and its "
                "groups are dropped: %s",
                self.version.step + 1,
                ", ".join(held.group.group_id for held in refused),
            )
        return trained, refused

    def _computed(
        self, batch: list[HeldGroup], updates: Updates, trained: PolicyVersion
    ) -> dict[str, TrainedResponses]:
        """What the ranks computed about each group; only on rank 0, when groups are recorded."""
        if not updates.logprobs:
            return {}
        logprobs = collective.gathered(torch.cat(updates.logprobs), self._policy.device)
        if not collective.is_first():
            return {}
        return trained_responses(
            batch, [one.numpy() for one in logprobs], trained, self._config.trainer
        )

    def _publish(
        self,
        trained: list[HeldGroup],
        refused: list[HeldGroup],
        computed: dict[str, TrainedResponses],
    ) -> None:
        self._operator.report("publishing", self.version)
        self._publisher.publish(self.version, trained, refused, computed)

    def _write_metrics(
        self,
        batch: list[HeldGroup],
        updates: Updates,
        times: StepTimes,
        trained: PolicyVersion,
        figures: GuardFigures,
    ) -> None:
        row: dict[str, Any] = step_metrics(
            self.version.step,
            [held.group for held in batch],
            updates.sums,
            updates.grad_norm,
            times,
            trained,
            self._config.trainer.objective,
        )
        row |= self._evaluated.new()
        row |= figures.recorded()
        # The reward and accuracy so far are those of the kept groups; these are of all groups.
        row |= self._link.do(lambda: self._tally.close(len(batch)))
        row |= self._idle_figures(times.wait_s)
        write_metrics(self._run_dir / METRICS, row)

    def _idle_figures(self, wait_s: float) -> dict[str, Any]:
        now, last = time.monotonic(), self._ended
        self._ended = now
        step_s = None if last is None else now - last
        return self._link.do(lambda: self._idle.figures(wait_s, step_s))

    def _checkpoint_is_due(self) -> bool:
        """The last step's checkpoint is written by `run`."""
        trainer, step = self._config.trainer, self.version.step
        return step % trainer.checkpoint.every_steps == 0 and step < trainer.steps

    def _checkpoint(self, needed: bool = False) -> None:
        self._operator.report("checkpointing", self.version)
        # A checkpoint holds which groups are settled.
        self._publisher.finish()
        self._checkpoints.write(self.version, needed)

    def _may_continue(self) -> bool:
        """Do what the operator asked for, wait while paused; False to stop."""
        while True:
            requests = self._operator.requests()
            if "checkpoint" in requests:
                self._checkpoint()
            if "stop" in requests:
                return False
            if not requests & {"pause", "hold"}:
                return True
            asked = "pause" in requests
            why = "POST /control/resume to go on" if asked else "until the evaluation is done"
            self._operator.report("paused", self.version, why)
            if collective.is_first():
                self._link.sleep(_PAUSE_POLL_S)
