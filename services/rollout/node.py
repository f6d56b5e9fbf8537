"""The state of a rollout node, and where its parts wait for each other.

The weight watcher sets the version and the state; the consumer and the routes wait for them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shared.service.idle import IdleClock
from shared.wire.messages import PolicyVersion
from shared.wire.registry import NodeInfo, NodeState

_PAUSES_SHOWN = 100


class Node:
    """State and counters of one node; everything happens on one event loop."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.state: NodeState = "starting"
        self.version: PolicyVersion | None = None
        self.engine_up = False
        self.done = 0
        self.tokens = 0
        self.versions_loaded = 0
        self.versions_skipped = 0
        self.paused_total_s = 0.0
        self.handed_back = 0
        self.buried = 0
        self.idle = IdleClock()
        """Its work is the requests that the engine has not answered yet."""
        self.in_work: set[str] = set()
        """Ids of the prompt entries taken and not finished."""
        self._paused_s: deque[float] = deque(maxlen=_PAUSES_SHOWN)
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the node samples with complete weights."""
        return self.state == "ready"

    def set_state(self, state: NodeState) -> None:
        """Change the state and wake what waits for it; a draining node stays draining."""
        if self.state != "draining":
            self.state = state
            self._wake()

    def loaded(self, version: PolicyVersion, paused_s: float) -> None:
        """Record that the engine samples with `version` now, after a pause of `paused_s`."""
        if self.version is not None and self.version.incarnation == version.incarnation:
            # Announced while the last one was loading: the node goes straight to the newest.
            self.versions_skipped += version.step - self.version.step - 1
        self.version = version
        self.versions_loaded += 1
        self.paused_total_s += paused_s
        self._paused_s.append(paused_s)
        self._wake()

    async def until(self, condition: Callable[["Node"], bool]) -> None:
        """Wait until `condition` holds. The caller bounds the wait."""
        while not condition(self):
            await self._changed.wait()

    def has(self, version: PolicyVersion) -> bool:
        """Whether the node samples with `version` or a newer one."""
        return self.version is not None and not self.version < version

    def info(self) -> NodeInfo:
        """The heartbeat."""
        idle_s, measured_s = self.idle.seconds()
        return NodeInfo(
            name=self.name,
            kind="rollout",
            url=self.url,
            state=self.state,
            engine_up=self.engine_up,
            version=None if self.version is None else str(self.version),
            working_on=len(self.in_work),
            done=self.done,
            tokens=self.tokens,
            idle_s=idle_s,
            measured_s=measured_s,
            versions_loaded=self.versions_loaded,
            versions_skipped=self.versions_skipped,
            paused_s=tuple(round(seconds, 4) for seconds in self._paused_s),
        )

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def collect(self) -> Iterator[Metric]:
        """The node's Prometheus metrics as they are now."""
        yield GaugeMetricFamily("perl_rollout_ready", "1 while it samples", value=self.ready)
        yield GaugeMetricFamily(
            "perl_rollout_tasks_in_work", "Prompt tasks taken", value=len(self.in_work)
        )
        step = self.version.step if self.version else -1
        yield GaugeMetricFamily("perl_rollout_policy_step", "Step of the policy", value=step)
        totals = {
            "perl_rollout_tasks_done": ("Prompt tasks answered", self.done),
            "perl_rollout_tasks_handed_back": ("Tasks left to others", self.handed_back),
            "perl_rollout_tasks_buried": ("Tasks nobody could answer", self.buried),
            "perl_rollout_tokens": ("Tokens sampled", self.tokens),
            "perl_rollout_versions_loaded": ("Policy versions loaded", self.versions_loaded),
            "perl_rollout_versions_skipped": (
                "Policy versions that a newer one overtook",
                self.versions_skipped,
            ),
            "perl_rollout_idle_seconds": (
                "Standing idle: no request in the engine",
                self.idle.seconds()[0],
            ),
            "perl_rollout_paused_seconds": ("Standing still for weights", self.paused_total_s),
        }
        for name, (text, value) in totals.items():
            yield CounterMetricFamily(name, text, value=value)
