"""``summary.json``: what a run did, from its metrics, its ledger and its nodes."""

import json
import os
import statistics
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from shared.files import write_atomically
from shared.records.bounds import STAGES, bound_by
from shared.records.steps import read_lines
from shared.wire.counts import Counts
from shared.wire.registry import NodeInfo
from shared.wire.runstate import TrainerState

DONE = "done"
"""The outcome of a run that did what its configuration asked."""

STEP_TIMES = ("rollout_s", "reward_s", "train_s", "wait_s", "sync_s")

_ENDS = 10
"""How many of the first and of the last steps `accuracy_all` is averaged over."""

Metrics = dict[str, Any]


def read_metrics(file: Path) -> list[Metrics]:
    """The lines of ``metrics.jsonl`` in step order, without a last one that a kill cut short.

    Until the trainer goes on from a checkpoint, they include steps that will be trained again.
    """
    # A run of an older version of this software may hold a step twice: its last line counts.
    by_step = {row["step"]: row for row in read_lines(file)}
    return [by_step[step] for step in sorted(by_step)]


class MetricsTail:
    """Lines that are added to ``metrics.jsonl`` after this was made, each once.

    The trainer replaces the file when it goes on from a checkpoint. A step that is trained again
    comes again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset, self._inode = 0, 0
        self._seen: set[tuple[int, int]] = set()
        """Incarnation and step of every line so far."""
        self.new()

    def new(self) -> list[Metrics]:
        """The complete lines since the last call."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_ino != self._inode or found.st_size < self._offset:
                self._offset, self._inode = 0, found.st_ino
            file.seek(self._offset)
            added = file.read()
        complete = added[: added.rfind(b"\n") + 1]
        self._offset += len(complete)
        rows = [json.loads(line) for line in complete.splitlines()]
        unseen = [row for row in rows if _trained(row) not in self._seen]
        self._seen |= {_trained(row) for row in rows}
        return unseen


def _trained(row: Metrics) -> tuple[int, int]:
    return row.get("incarnation", 0), row["step"]


def summarise(
    metrics: list[Metrics],
    counts: Counts,
    nodes: list[NodeInfo],
    restarts: Mapping[str, int],
    wall_s: float,
    evaluation: dict[str, Any],
    outcome: str,
    trainer: TrainerState,
    per_group: int,
) -> dict[str, Any]:
    """The content of ``summary.json``.

    Args:
        metrics: one line for each trained step.
        counts: the ledger at the end.
        nodes: the last state of each node.
        restarts: how often each node was restarted, by name.
        wall_s: from the start of the services to the end of training, this launch only.
        evaluation: ``before`` and ``after``, from `plain_robustness`.
        outcome: `DONE`, "interrupted", or "failed: " and the reason.
        trainer: its last state.
        per_group: responses of one group.
    """
    idle = {stage: _idle_share(metrics, stage) for stage in STAGES}
    return {
        "outcome": outcome,
        "steps": len(metrics),
        "resumed_after": resumed_after(metrics),
        "groups": {
            "issued": counts.issued,
            "trained": counts.trained,
            "dropped": counts.dropped,
            "in_flight": counts.in_flight,
            "skipped": counts.skipped,
        },
        "accuracy_all": {
            "first": _mean(_values(metrics[:_ENDS], "accuracy_all")),
            "last": _mean(_values(metrics[-_ENDS:], "accuracy_all")),
        },
        "dropped_share": _mean(_values(metrics, "dropped_share")),
        "skipped_share": _mean(_values(metrics, "skipped_share")),
        "responses": per_group * (counts.trained + sum(counts.dropped.values())),
        "samples_trained": sum(row.get("samples", 0) for row in metrics),
        "samples_generated": sum(row.get("samples_generated", 0) for row in metrics),
        "wall_s": wall_s,
        "step_s": _mean(_values(metrics, "step_s")),
        "idle_share": idle,
        "bound_by": bound_by(idle),
        **{name: _median(_values(metrics, name)) for name in STEP_TIMES},
        "sync_paused_s": _median([pause for node in nodes for pause in node.paused_s]),
        "generated_tokens": sum(row.get("generated_tokens", 0) for row in metrics),
        "tokens_per_s": _median(_values(metrics, "tokens_per_s")),
        "logprob_mismatch": {
            "abs": _mean(_values(metrics, "logprob_mismatch_abs")),
            "kl": _mean(_values(metrics, "logprob_mismatch_kl")),
        },
        "dtype": trainer.dtype,
        "device": trainer.device,
        "nodes": [_node(node, restarts.get(node.name, 0)) for node in nodes],
        "eval": evaluation,
    }


def resumed_after(metrics: list[Metrics]) -> list[int]:
    """The steps after which another start of the trainer went on."""
    starts = [(0, 1), *((row["step"], row.get("incarnation", 0)) for row in metrics)]
    return [step for (step, before), (_, after) in pairwise(starts) if after > before]


def plain_robustness(result: dict[str, Any]) -> dict[str, Any]:
    """`result` with each estimate as a plain number, and the intervals in ``intervals_95``.

    Args:
        result: a `perl_rl.eval.robustness.OrderRobustness` as JSON.
    """
    estimates = {name: value for name, value in result.items() if _is_estimate(value)}
    values = {name: estimate["value"] for name, estimate in estimates.items()}
    intervals = {name: [one["low"], one["high"]] for name, one in estimates.items()}
    return {**result, **values, "intervals_95": intervals}


def _is_estimate(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"value", "low", "high"}


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write in one step: a reader sees the old file or the new one."""
    write_atomically(file, json.dumps(content, indent=2) + "\n")


def _idle_share(metrics: list[Metrics], stage: str) -> float | None:
    """The mean of a stage's shares, each weighted by the length of its step."""
    name = f"{stage}_idle_share"
    steps = [row for row in metrics if row.get(name) is not None]
    total_s = sum(row["step_s"] for row in steps)
    return sum(row[name] * row["step_s"] for row in steps) / total_s if total_s else None


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _values(metrics: list[Metrics], name: str) -> list[float]:
    return [row[name] for row in metrics if row.get(name) is not None]


def _node(node: NodeInfo, restarts: int) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind,
        "version": node.version,
        "versions_loaded": node.versions_loaded,
        "versions_skipped": node.versions_skipped,
        "done": node.done,
        "tokens": node.tokens,
        "sync_paused_s": _median(list(node.paused_s)),
        "restarts": restarts,
    }
