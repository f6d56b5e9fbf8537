"""Which share of a step's time each stage stood idle, from what the nodes and the loop measured."""

from dataclasses import dataclass

import redis.asyncio

from shared.records.bounds import bound_by
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo, Registry


@dataclass(frozen=True)
class _Reading:
    """A node's clock at a heartbeat."""

    idle_s: float
    measured_s: float


class IdleShares:
    """Reads the nodes' clocks once a step; used by rank 0 only.

    A node's clock comes with its heartbeat. A step that ends before the next one has no share of
    its own for that kind of node; the step after it covers both.
    """

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._registry = Registry(client, keys)
        self._last: dict[str, _Reading] = {}

    async def figures(self, wait_s: float, step_s: float | None) -> dict[str, float | str | None]:
        """The step's figures for ``metrics.jsonl``.

        Args:
            wait_s: how long the ranks waited for groups.
            step_s: how long the step took; None for the first one, which waits for the start of the
                services.
        """
        nodes, _ = await self._registry.nodes()
        idle = {kind: self._share(nodes, kind) for kind in ("rollout", "reward")}
        if step_s is None:
            idle = dict.fromkeys(idle)
        idle["trainer"] = None if step_s is None else min(1.0, wait_s / step_s)
        shares: dict[str, float | str | None] = {
            f"{stage}_idle_share": share for stage, share in idle.items()
        }
        return {"step_s": step_s, **shares, "bound_by": bound_by(idle)}

    def _share(self, nodes: list[NodeInfo], kind: str) -> float | None:
        """The idle share of all nodes of one kind since their last readings."""
        idle_s = measured_s = 0.0
        for node in nodes:
            if node.kind != kind:
                continue
            last = self._last.get(node.name, _Reading(0.0, 0.0))
            if node.measured_s < last.measured_s:
                # A node of this name has started again.
                last = _Reading(0.0, 0.0)
            idle_s += node.idle_s - last.idle_s
            measured_s += node.measured_s - last.measured_s
            self._last[node.name] = _Reading(node.idle_s, node.measured_s)
        return idle_s / measured_s if measured_s > 0 else None
