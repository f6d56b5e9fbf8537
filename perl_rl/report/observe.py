"""A run as Redis shows it at one moment: trainer, nodes, queues, ledger."""

import time
from dataclasses import dataclass

import redis.asyncio

from shared.wire.board import VersionBoard
from shared.wire.counts import Counts
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.registry import NodeInfo, Registry
from shared.wire.runstate import RunState, TrainerState


@dataclass(frozen=True)
class RunView:
    """The state of a run."""

    trainer: TrainerState
    version: str | None
    """The current policy version, ``incarnation.step``."""
    nodes: list[NodeInfo]
    lost: list[str]
    """Names of nodes whose heartbeat has stopped."""
    queued: dict[str, int]
    """Entries in each stream, including those being worked on."""
    counts: Counts
    evaluating: str = ""
    """How far an evaluation on the nodes is, in words; empty without one."""

    def waiting_for(self, expected_nodes: int = 0) -> str:
        """What the run is doing or waiting for now, in words.

        Args:
            expected_nodes: how many nodes the launcher starts, if it does.
        """
        late = [f"{node.name} ({node.state})" for node in self.nodes if node.state == "starting"]
        queued = ", ".join(f"{name} {length}" for name, length in self.queued.items() if length)
        words = [self.evaluating] if self.evaluating else []
        words.append(_trainer_words(self.trainer))
        if self.trainer.stalled:
            words.append(self.trainer.stalled)
        if late:
            words.append(f"starting: {', '.join(late)}")
        absent = expected_nodes - len(self.nodes) - len(self.lost)
        if absent > 0:
            words.append(f"{absent} {'node has' if absent == 1 else 'nodes have'} not started yet")
        if self.lost:
            words.append(f"lost: {', '.join(self.lost)}")
        if queued:
            words.append(f"queued: {queued}")
        return "; ".join(words)


def _trainer_words(state: TrainerState) -> str:
    detail = f" ({state.detail})" if state.detail else ""
    lasting = f" for {max(0.0, time.time() - state.since):.0f} s" if state.since else ""
    return f"trainer: {state.phase}{detail}{lasting}"


async def look(client: redis.asyncio.Redis, keys: Keys) -> RunView:
    """Read the run's state now."""
    current = await VersionBoard(client, keys).current()
    nodes, lost = await Registry(client, keys).nodes()
    streams = {
        "prompts": keys.prompts,
        "trajectories": keys.trajectories,
        "groups": keys.groups,
        "dead letters": keys.dead_letters,
    }
    return RunView(
        trainer=await RunState(client, keys).get(),
        version=None if current is None else str(current.version),
        nodes=nodes,
        lost=lost,
        queued={name: int(await client.xlen(stream)) for name, stream in streams.items()},
        counts=await Ledger(client, keys).counts(),
        evaluating=await RunState(client, keys).evaluation(),
    )


async def find_runs(client: redis.asyncio.Redis) -> list[str]:
    """Names of the runs with a trainer's state or nodes in this Redis."""
    found = set()
    for suffix in (":state", ":nodes"):
        async for key in client.scan_iter(match=f"perl:*{suffix}", count=1000):
            found.add(key.decode().removeprefix("perl:").removesuffix(suffix))
    return sorted(found)
