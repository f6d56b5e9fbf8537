"""Guards against silent blindness: what is checked before a step may change the policy.

Sampler and trainer must see the same prompts and pixels and hold the same weights. Each group is
checked when it is taken in (`admitted`) and when it is prepared (``compute/checks.py``); here are
the checks of a whole step, before its weights are published.
"""

import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from services.trainer.compute.canary import has_pictures, is_alarm
from services.trainer.compute.checks import GuardStop
from services.trainer.compute.packing import PreparedGroup
from services.trainer.compute.step import Stepper, Updates
from shared.config.guard import GuardConfig
from shared.records.steps import Alarm
from shared.wire.messages import MalformedMessage, ScoredGroup

logger = logging.getLogger(__name__)


def admitted(group: ScoredGroup) -> ScoredGroup:
    """The group itself, when it can be trained on.

    Raises:
        MalformedMessage: when it, an order or a response is empty. Numbers that cannot be are
            refused when the message is decoded.
    """
    if not group.orders:
        raise MalformedMessage("ScoredGroup, field 'orders': there is none")
    for index, order in enumerate(group.orders):
        if not order.batch.responses:
            raise MalformedMessage(f"ScoredGroup, order {index}: it has no responses")
        for number, response in enumerate(order.batch.responses):
            if len(response.token_ids) == 0:
                raise MalformedMessage(
                    f"ScoredGroup, order {index}, response {number}: it has no tokens"
                )
    return group


class StepGuards:
    """Watches one step after another; every rank has one and calls it alike."""

    def __init__(self, config: GuardConfig, stepper: Stepper) -> None:
        self._config = config
        self._stepper = stepper
        self._mismatch = MismatchGuard(config)
        self._gradients = GradientGuard(config)
        self._canary_change: float | None = None
        self._raised = 0

    def before(self, step: int, groups: Sequence[PreparedGroup]) -> None:
        """Run the canary on the first group with pictures, when `step` is due for it."""
        every = self._config.canary_every_steps
        due = every > 0 and step % every == 0
        shown = next(filter(has_pictures, groups), groups[0])
        self._canary_change = self._stepper.canary(shown) if due else None

    def after(self, step: int, updates: Updates) -> "GuardFigures":
        """Check the step's figures, equal on every rank; returns those to be shown.

        Raises:
            GuardStop: on every rank.
        """
        sums, canary = updates.sums, self._canary_change
        mismatch = sums.mismatch_abs / sums.mismatch_tokens if sums.mismatch_tokens else None
        raised: dict[Alarm, bool] = {
            "nonfinite_gradient": self._gradients.watch(step, len(updates.refused)),
            "logprob_mismatch": self._mismatch.watch(step, mismatch),
            "kl": kl_alarm(step, sums.kl / max(sums.tokens, 1.0), self._config),
            "canary": canary is not None and is_alarm(step, canary, self._config),
        }
        alarms = [name for name, is_raised in raised.items() if is_raised]
        self._raised += len(alarms)
        return GuardFigures(mismatch, canary, alarms, self._raised, self._gradients.refused)


@dataclass(frozen=True)
class GuardFigures:
    """What the guards found at one step."""

    logprob_mismatch: float | None
    """Mean absolute difference to the sampler's log-probabilities; None without tokens."""
    canary_change: float | None
    """Mean absolute change of log-probabilities with other pictures; None when not measured."""
    alarms: list[Alarm]
    """What this step is an alarm for."""
    guard_alarms: int
    """Alarms since the ranks started."""
    refused_updates: int
    """Updates since the ranks started that changed nothing."""

    def shown(self) -> dict[str, float | int | str]:
        """Fields of `shared.wire.runstate.TrainerState`."""
        measured = {
            name: value
            for name in ("logprob_mismatch", "canary_change")
            if (value := getattr(self, name)) is not None
        }
        return measured | {
            "alarms": ", ".join(self.alarms),
            "guard_alarms": self.guard_alarms,
            "refused_updates": self.refused_updates,
        }

    def recorded(self) -> dict[str, Any]:
        """Fields of `shared.records.steps.StepRecord`; it has the mismatch from the loss."""
        return {name: value for name, value in asdict(self).items() if name != "logprob_mismatch"}


def kl_alarm(step: int, kl: float, config: GuardConfig) -> bool:
    """Whether a step's mean divergence from the start model is an alarm; logs it if so.

    Args:
        kl: the k3 estimate in nats a token; 0 without a reference model.
    """
    bound = config.kl_warn_above
    if bound is None or kl <= bound:
        return False
    logger.warning(
        "step %d: the policy diverges from the start model by %.3g nats a token "
        "(trainer.guard.kl_warn_above %g): lower trainer.optimizer.learning_rate, or raise "
        "trainer.objective.kl_coef",
        step,
        kl,
        bound,
    )
    return True


class GradientGuard:
    """Counts updates that changed nothing because their gradient norm was not finite."""

    def __init__(self, config: GuardConfig) -> None:
        self._limit = config.max_nonfinite_steps
        self._in_a_row = 0
        self.refused = 0
        """Such updates since the ranks started."""

    def watch(self, step: int, refused: int) -> bool:
        """Take in how many updates of one step were refused; True when any was.

        Raises:
            GuardStop: after ``trainer.guard.max_nonfinite_steps`` such steps in a row.
        """
        self.refused += refused
        self._in_a_row = self._in_a_row + 1 if refused else 0
        if self._in_a_row >= self._limit:
            raise GuardStop(
                f"step {step}: the gradient norm was not finite in {self._in_a_row} steps in a row "
                "(trainer.guard.max_nonfinite_steps); the log names the groups; check the rewards' "
                "size, lower trainer.optimizer.learning_rate, or go on from an earlier checkpoint"
            )
        return refused > 0


class MismatchGuard:
    """Watches how far the trainer's log-probabilities are from the sampler's.

    Only tokens count that were sampled by the very version that computes them here, so the
    difference is numerical noise unless weights, pixels or prompts differ.
    """

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._recent: deque[float] = deque(maxlen=config.window)

    def watch(self, step: int, mismatch: float | None) -> bool:
        """Take in one step's mean absolute difference; True when it is an alarm.

        Args:
            mismatch: None when the step had no token of its own version.

        Raises:
            GuardStop: when the mean over ``trainer.guard.window`` such steps is too large.
        """
        if mismatch is None:
            return False
        config = self._config
        self._recent.append(mismatch if math.isfinite(mismatch) else math.inf)
        mean = sum(self._recent) / len(self._recent)
        full = len(self._recent) == config.window
        if full and config.mismatch_stop_above is not None and mean > config.mismatch_stop_above:
            raise GuardStop(
                f"step {step}: log-probabilities of trainer and sampler differ by {mean:.3g} a "
                f"token over {config.window} steps (trainer.guard.mismatch_stop_above "
                f"{config.mismatch_stop_above:g}); check that every rollout node has the trainer's "
                "model folder, model.dtype, model.min_pixels and model.max_pixels, and loads the "
                "published weights (perl-rl status shows versions)"
            )
        if mismatch <= config.mismatch_warn_above:
            return False
        logger.warning(
            "step %d: log-probabilities of trainer and sampler differ by %.3g a token "
            "(trainer.guard.mismatch_warn_above %g): do both have the same weights and pixels?",
            step,
            mismatch,
            config.mismatch_warn_above,
        )
        return True
