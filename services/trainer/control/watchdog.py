"""Reports which stage of a run is stalled: it has work, and makes no progress.

It only reports: in the log, in the run's state (``perl-rl status``) and in the metrics. Recovery
happens elsewhere: a hung node ends itself, a dead node's work is taken over, every wait times out.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

import redis.asyncio

from shared.service.connection import OUTAGE, heeding_cancel
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.registry import NodeInfo, Registry
from shared.wire.runstate import RunState, TrainerState

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0

_BUSY = ("training", "publishing", "checkpointing", "starting")


@dataclass(frozen=True)
class Stage:
    """One stage at one moment."""

    work: str
    """Its outstanding work, in words; empty when it has none."""
    progress: object
    """Differs from its last value when the stage has made progress."""


class Stalls:
    """How long each stage has had work without progress."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._progress: dict[str, object] = {}
        self._work: dict[str, str] = {}

    def see(self, stages: dict[str, Stage], now: float) -> None:
        """Record all stages at the time `now`, in seconds of any clock."""
        for name, stage in stages.items():
            if not stage.work or stage.progress != self._progress.get(name):
                self._since[name] = now
            self._progress[name], self._work[name] = stage.progress, stage.work

    def seconds(self, now: float) -> dict[str, float]:
        """Stage to the seconds since its last progress."""
        return {name: now - since for name, since in self._since.items()}

    def describe(self, now: float, after_s: float) -> str:
        """The stages without progress for `after_s`, in words; empty when there is none."""
        late = {name: lasted for name, lasted in self.seconds(now).items() if lasted >= after_s}
        return "; ".join(
            f"{name} stalled: {self._work[name]}, nothing done for {lasted:.0f} s"
            for name, lasted in late.items()
        )


class Watchdog:
    """Checks a run every few seconds."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, after_s: float) -> None:
        self._client = client
        self._keys = keys
        self._after_s = after_s
        self._state = RunState(client, keys)
        self._ledger = Ledger(client, keys)
        self._registry = Registry(client, keys)
        self._stalls = Stalls()
        self._told = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            # Those who need Redis wait for it and say so; the watchdog just misses a look.
            try:
                await heeding_cancel(self._look)
            except OUTAGE as error:
                logger.warning("the watchdog cannot check the run: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    def seconds(self) -> dict[str, float]:
        """Stage to the seconds since its last progress, for the metrics."""
        return self._stalls.seconds(time.monotonic())

    async def _look(self) -> None:
        now = time.monotonic()
        self._stalls.see(await self._stages(), now)
        told = self._stalls.describe(now, self._after_s)
        if told and not self._told:
            logger.error("%s (trainer.stall_after_s %.0f)", told, self._after_s)
        elif self._told and not told:
            logger.info("nothing is stalled any more")
        if told or self._told:
            await self._state.update(stalled=told)
        self._told = told

    async def _stages(self) -> dict[str, Stage]:
        nodes, lost = await self._registry.nodes()
        queued = {
            name: int(await self._client.xlen(getattr(self._keys, name)))
            for name in ("prompts", "trajectories")
        }
        state, counts = await self._state.get(), await self._ledger.counts()
        asking = state.phase == "waiting for groups" and counts.in_flight == 0
        return {
            "rollout": _of_nodes(nodes, lost, "rollout", "prompts", queued["prompts"]),
            "reward": _of_nodes(nodes, lost, "reward", "trajectories", queued["trajectories"]),
            "trainer": _of_trainer(state),
            "feeder": Stage("the trainer waits and nothing is in flight" * asking, counts.issued),
        }


def _of_nodes(nodes: list[NodeInfo], lost: list[str], kind: str, what: str, queued: int) -> Stage:
    ours = [node for node in nodes if node.kind == kind]
    there = ", ".join(f"{node.name} {node.state}" for node in ours) or "no node"
    gone = f", lost: {', '.join(name for name in lost)}" if lost else ""
    work = f"{queued} {what} queued ({there}{gone})" if queued else ""
    return Stage(work, sorted((node.name, node.done, node.tokens) for node in ours))


def _of_trainer(state: TrainerState) -> Stage:
    work = f"step {state.step + 1}, {state.phase}" if state.phase in _BUSY else ""
    return Stage(work, (state.phase, state.step, state.since))
