"""The figures of one training step: a line of ``metrics.jsonl``."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from services.trainer.compute.loss import LossSums, normaliser
from shared.config import ObjectiveConfig
from shared.wire.messages import PolicyVersion, ScoredGroup

logger = logging.getLogger(__name__)


class StepTimes:
    """A stopwatch over the parts of a step, in seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.wait_s = self.train_s = self.sync_s = 0.0

    def waited(self, began: float | None = None) -> None:
        """The batch is complete.

        Args:
            began: when its first group began to be sampled, by ``time.monotonic``; waiting for
                nodes to start is no part of a step.
        """
        self._last = max(self._last, began or self._last)
        self.wait_s = self._lap()

    def trained(self) -> None:
        """The optimizer has stepped."""
        self.train_s = self._lap()

    def published(self) -> None:
        """The new version is announced."""
        self.sync_s = self._lap()

    def _lap(self) -> float:
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        return elapsed


def step_metrics(
    step: int,
    groups: list[ScoredGroup],
    sums: LossSums,
    grad_norm: float | None,
    times: StepTimes,
    trained_at: PolicyVersion,
    objective: ObjectiveConfig,
) -> dict[str, Any]:
    """Figures of one step.

    Args:
        step: the step just done.
        groups: whole groups as they were scored; ``trainer.selection`` may train a part of each.
        sums: over the responses that were trained on.
        grad_norm: of the last update that was made, before clipping.
        trained_at: the version the groups were trained on (before the step).
    """
    orders = [order for group in groups for order in group.orders]
    rewards = [reward for order in orders for reward in order.rewards]
    staleness = [trained_at.step - group.oldest_version().step for group in groups]
    updated_tokens = max(sums.tokens, 1.0)
    matched, weighted = sums.mismatch_tokens, objective.importance_weighted
    tokens = sum(group.response_tokens() for group in groups)
    step_s = times.wait_s + times.train_s + times.sync_s
    return {
        "step": step,
        "incarnation": trained_at.incarnation,
        "time": time.time(),
        "groups": [group.group_id for group in groups],
        "reward": float(np.mean([reward.total for reward in rewards])),
        "accuracy": float(np.mean([reward.accuracy for reward in rewards])),
        "format": float(np.mean([reward.format for reward in rewards])),
        "loss": sums.loss / max(normaliser(sums.responses, sums.tokens, objective), 1.0),
        "kl": sums.kl / updated_tokens,
        "clip_fraction": sums.clipped / updated_tokens,
        "entropy": sums.surprise / updated_tokens,
        "grad_norm": grad_norm,
        "staleness_mean": float(np.mean(staleness)),
        "staleness_max": int(max(staleness)),
        "samples": int(sums.responses),
        "samples_generated": len(rewards),
        "noisy_orders": sum(bool(order.batch.task.clean_images) for order in orders),
        "trained_tokens": int(sums.tokens),
        "generated_tokens": tokens,
        "mean_response_tokens": tokens / len(rewards),
        "tokens_per_s": tokens / step_s,
        "rollout_s": float(np.median([order.batch.sampled_s for order in orders])),
        "reward_s": float(np.median([order.scored_s for order in orders])),
        "wait_s": times.wait_s,
        "train_s": times.train_s,
        "sync_s": times.sync_s,
        "logprob_mismatch_abs": sums.mismatch_abs / matched if matched else None,
        "logprob_mismatch_kl": sums.mismatch_kl / matched if matched else None,
        "importance_weight": sums.importance / updated_tokens if weighted else None,
        "importance_outside": sums.importance_outside / updated_tokens if weighted else None,
    }


def write_metrics(file: Path, row: dict[str, Any]) -> None:
    """Append a step's figures to ``metrics.jsonl`` and log the main ones.

    A last line without its end is removed first: its writer was killed, and its step is trained
    again. The line is on the disk when this returns, so before a checkpoint of its step is.
    """
    with file.open("ab+") as stream:
        stream.truncate(_whole_lines(stream))
        stream.write(json.dumps(row).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    logger.info(
        "step %d: reward %.3f, accuracy %.3f, waited %.1f s, trained %.1f s",
        *(row[name] for name in ("step", "reward", "accuracy", "wait_s", "train_s")),
    )


def _whole_lines(stream: BinaryIO) -> int:
    """How many bytes of a file the lines with an end take."""
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        return 0
    stream.seek(size - 1)
    if stream.read(1) == b"\n":
        return size
    stream.seek(0)
    return stream.read().rfind(b"\n") + 1
