"""The scored orders that a reward node keeps while their groups wait for other orders.

They lie in Redis too, for the case that another node completes the group; but the node that scored
them need not fetch and decode them again.
"""

from collections import OrderedDict

from shared.wire.messages import PromptTask, ScoredOrder

_MOST_BYTES = 64 << 20
"""Of encoded orders. Those of groups that other nodes complete are displaced in time."""


class HeldOrders:
    """Scored orders by group, the longest untouched displaced first."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._groups: OrderedDict[tuple[str, int], dict[int, tuple[ScoredOrder, int]]]
        self._groups = OrderedDict()
        self._nbytes = 0

    def add(self, order: ScoredOrder, nbytes: int) -> None:
        """Keep an order that the ledger has collected, and that has so many bytes there."""
        task = order.batch.task
        group = self._groups.setdefault(_group(task), {})
        self._nbytes += nbytes - group.get(task.order_index, (order, 0))[1]
        group[task.order_index] = (order, nbytes)
        self._groups.move_to_end(_group(task))
        while self._nbytes > self._most_bytes:
            _, displaced = self._groups.popitem(last=False)
            self._nbytes -= sum(size for _, size in displaced.values())

    def others(self, task: PromptTask) -> dict[int, ScoredOrder]:
        """The orders of the task's group that are held, by index, without the task's own."""
        group = self._groups.get(_group(task), {})
        return {index: one for index, (one, _) in group.items() if index != task.order_index}

    def forget(self, task: PromptTask) -> None:
        """Drop the orders of a group that is complete."""
        group = self._groups.pop(_group(task), {})
        self._nbytes -= sum(size for _, size in group.values())


def _group(task: PromptTask) -> tuple[str, int]:
    """A group that is issued again in another incarnation is another one."""
    return task.group_id, task.issued_at.incarnation
