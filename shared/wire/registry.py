"""The list of live nodes: each writes heartbeats that expire."""

from typing import Literal

import redis.asyncio
from pydantic import BaseModel, ConfigDict

from shared.wire.keys import Keys

NodeState = Literal["starting", "ready", "outdated", "draining"]
"""``outdated``: a rollout node that cannot get the newest weights, and takes no work."""


VERSIONS_HEADER = "x-policy-versions"
"""Of a rollout node's answers: the first and the last policy version that it may be by."""


class NodeInfo(BaseModel):
    """What a node reports about itself with every heartbeat."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["rollout", "reward"]
    url: str
    state: NodeState
    engine_up: bool = False
    """Whether a rollout node's engine has all the memory that it will use."""
    version: str | None = None
    """Policy version a rollout node samples with."""
    working_on: int = 0
    """Entries read and not finished."""
    done: int = 0
    """Entries finished since the start."""
    tokens: int = 0
    """Tokens sampled since the start."""
    idle_s: float = 0.0
    """Seconds without work in hand, since the first work."""
    measured_s: float = 0.0
    """Seconds since the first work."""
    versions_loaded: int = 0
    """Policy versions loaded since the start."""
    versions_skipped: int = 0
    """Policy versions that were outdated before the node loaded them."""
    paused_s: tuple[float, ...] = ()
    """Seconds for which the engine was paused at each of the last weight updates."""


class Registry:
    """Reads and writes heartbeats."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def heartbeat(self, node: NodeInfo, lost_after_s: float) -> None:
        """Record that the node is alive; it counts as lost `lost_after_s` later."""
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.sadd(self._keys.nodes, node.name)
            pipe.set(
                self._keys.node(node.name), node.model_dump_json(), px=int(lost_after_s * 1000)
            )
            await pipe.execute()

    async def leave(self, name: str) -> None:
        """Take a node that ends normally off the list."""
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.srem(self._keys.nodes, name)
            pipe.delete(self._keys.node(name))
            await pipe.execute()

    async def nodes(self) -> tuple[list[NodeInfo], list[str]]:
        """The live nodes, and the names of those whose heartbeat has stopped."""
        names = sorted(name.decode() for name in await self._client.smembers(self._keys.nodes))
        if not names:
            return [], []
        answers = await self._client.mget([self._keys.node(name) for name in names])
        alive = [NodeInfo.model_validate_json(answer) for answer in answers if answer]
        lost = [name for name, answer in zip(names, answers, strict=True) if not answer]
        return alive, lost
