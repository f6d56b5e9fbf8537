"""What Prometheus hears of a run as a whole: its phase, queues, nodes and disk.

The control plane answers for all of it, so that each figure has one source, however many nodes
there are.
"""

import math
import shutil
from collections import Counter
from pathlib import Path
from typing import get_args

import redis.asyncio
from prometheus_client import CollectorRegistry, Gauge

from shared.records.steps import METRICS, last_record
from shared.wire.keys import Keys
from shared.wire.queues import queue_state
from shared.wire.registry import NodeInfo, NodeState, Registry
from shared.wire.runstate import Phase, TrainerState

QUEUES = ("prompts", "trajectories", "groups")
KINDS = get_args(NodeInfo.model_fields["kind"].annotation)


class RunGauges:
    """Gauges of one run, in the registry of the trainer's routes.

    Args:
        stall_after_s: ``trainer.stall_after_s``.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        client: redis.asyncio.Redis,
        keys: Keys,
        run_dir: Path,
        stall_after_s: float,
    ) -> None:
        self._client, self._keys, self._run_dir = client, keys, run_dir
        self._nodes_of = Registry(client, keys)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self._steps = gauge("perl_trainer_steps", "Steps that the run is to train")
        self._incarnation = gauge(
            "perl_trainer_incarnation", "How often the trainer has started, resumed runs included"
        )
        self._phase = gauge("perl_trainer_phase", "1 for what the trainer is doing", "phase")
        self._last_step = gauge(
            "perl_trainer_last_step_timestamp_seconds",
            "When the last step ended, in seconds since 1970; NaN before the first",
        )
        self._queue = {
            "entries": gauge("perl_queue_entries", "Entries that wait or are worked on", "queue"),
            "in_work": gauge("perl_queue_in_work", "Entries that a node has taken", "queue"),
            "oldest_s": gauge(
                "perl_queue_oldest_seconds", "Age of the oldest entry; 0 when it is empty", "queue"
            ),
            "unrenewed_s": gauge(
                "perl_queue_unrenewed_seconds",
                "Since when nobody has renewed the claim on a taken entry, the longest",
                "queue",
            ),
        }
        self._dead_letters = gauge("perl_dead_letters", "Entries that no service could process")
        self._nodes = gauge("perl_nodes", "Live nodes by kind and state", "kind", "state")
        self._lost = gauge("perl_nodes_lost", "Nodes whose heartbeat stopped without a farewell")
        self._disk_free = gauge("perl_run_disk_free_bytes", "Free space for the run folder")
        self._disk = gauge("perl_run_disk_bytes", "Size of the file system with the run folder")
        gauge("perl_stall_after_seconds", "trainer.stall_after_s").set(stall_after_s)

    async def refresh(self, state: TrainerState) -> None:
        """Set the gauges to what is true now."""
        self._show(state)
        for queue in QUEUES:
            found = await queue_state(self._client, getattr(self._keys, queue))
            for name, gauge in self._queue.items():
                gauge.labels(queue).set(getattr(found, name))
        self._dead_letters.set(await self._client.xlen(self._keys.dead_letters))
        alive, lost = await self._nodes_of.nodes()
        number = Counter((node.kind, node.state) for node in alive)
        for kind in KINDS:
            for one in get_args(NodeState):
                self._nodes.labels(kind, one).set(number[kind, one])
        self._lost.set(len(lost))

    def read_disk(self) -> None:
        """Set the gauges that need the disk; it may be slow."""
        # Before the first step nothing may have made the folder.
        there = next(one for one in (self._run_dir, *self._run_dir.parents) if one.exists())
        disk = shutil.disk_usage(there)
        self._disk_free.set(disk.free)
        self._disk.set(disk.total)
        record = last_record(self._run_dir / METRICS)
        self._last_step.set(math.nan if record is None else record.time)

    def _show(self, state: TrainerState) -> None:
        self._steps.set(state.steps)
        self._incarnation.set(state.incarnation)
        for phase in get_args(Phase):
            self._phase.labels(phase).set(phase == state.phase)
