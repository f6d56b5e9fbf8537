"""A run for `bench.elastic_nodes`: only token generation and training are simulated.

Redis, feeder, rollout consumers, fetching of weights and the reward node are those of a real run.
The rollout nodes use the fault suite's simulated engine, which answers after a pause. The simulated
trainer settles each group as soon as it arrives.
"""

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio
import yaml
from transformers import AutoProcessor

from bench.windows import Presence
from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from services.trainer.control.feeder import Feeder
from shared.config import Config
from shared.sample import load_samples
from shared.service.connection import connect
from shared.wire.board import VersionBoard
from shared.wire.counts import Counts
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, ScoredGroup, decode
from shared.wire.queues import CONSUMER_GROUP, WorkStream
from shared.wire.registry import Registry
from tests.faults.simulated_rollout import run_node
from tests.scripted_sampler import end
from tests.served_weights import ServedWeights

VERSION = PolicyVersion(incarnation=1, step=0)
TASKS_A_NODE = 2
ORDERS = 2
START_S, END_S = 120.0, 60.0


def settings(folder: Path, url: str, nodes: int) -> dict[str, Any]:
    """A run with twice as many groups in flight as its nodes need to be busy."""
    return {
        "run": "elastic",
        "redis": {"url": url},
        "model": {"path": str(folder / "model")},
        "data": {"train": str(folder / "data" / "train.jsonl")},
        "permutation": {"n_s": ORDERS - 1, "schedule": "constant"},
        "sampling": {"n": 4},
        "rollout": {
            "concurrent_tasks": TASKS_A_NODE,
            "heartbeat_s": 1.0,
            "lost_after_s": 5.0,
            "drain_timeout_s": 30.0,
            "max_attempts": 20,
        },
        "reward": {"port": 0, "workers": 1, "filter": {"drop_uniform": False}},
        "trainer": {
            "steps": 1_000_000,
            "max_staleness": 0,
            "groups_per_step": 2 * nodes * TASKS_A_NODE // ORDERS,
        },
    }


@dataclass
class Cluster:
    """What the nodes share."""

    folder: Path
    config: Config
    client: redis.asyncio.Redis
    pause_s: float
    """Mean time of a task in the engine."""
    stay_s: float
    """Mean time for which a node that comes and goes stays, and for which it stays away."""
    presence: Presence = field(default_factory=Presence)
    trained: Counter[str] = field(default_factory=Counter)
    """How often each group was accepted as trained."""
    killed: int = 0
    drained: int = 0

    def __post_init__(self) -> None:
        self.keys = Keys(self.config.run)
        self.ledger = Ledger(self.client, self.keys)
        self.registry = Registry(self.client, self.keys)
        self._processor = AutoProcessor.from_pretrained(self.config.model.path)
        self._stop_feeding = asyncio.Event()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Everything but the rollout nodes runs during the block."""
        await self.ledger.restore({})
        samples = load_samples(Path(self.config.data.train_sources()[0].path))
        feeder = Feeder(self.client, self.keys, self.config, samples)
        served = await asyncio.to_thread(self._published)
        reward = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "perl_rl", "reward", "serve"),
            *(str(self.folder / "config.yaml"), "--name", "reward-0"),
        )
        try:
            async with together(
                feeder.run(VERSION.incarnation, self._stop_feeding),
                self._settle(),
            ):
                board = VersionBoard(self.client, self.keys)
                await board.announce(VERSION, served.announcement(VERSION).url)
                await self._reward_node()
                yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                reward.terminate()
            await reward.wait()
            await asyncio.to_thread(served.close)

    async def _reward_node(self) -> None:
        """Wait until the reward node takes work.

        Raises:
            TimeoutError: when it does not within `START_S`.
        """
        async with asyncio.timeout(START_S):
            while not any(node.kind == "reward" for node in (await self.registry.nodes())[0]):
                await asyncio.sleep(0.2)

    def _published(self) -> ServedWeights:
        """The start model's weights, as the trainer serves them."""
        served = ServedWeights(self.folder / "versions", self.config, bucket_bytes=1 << 20)
        model = build_model(build_processor(), seed=0)
        served.write(VERSION, {name: one.detach() for name, one in model.named_parameters()})
        return served

    async def _settle(self) -> None:
        """The simulated trainer."""
        assert self.config.redis.url is not None
        client = await connect(self.config.redis.url, 30.0)
        stream, ledger = WorkStream(client, self.keys.groups, "trainer"), Ledger(client, self.keys)
        while True:
            for entry in await stream.read(64, 0.5):
                group = decode(ScoredGroup, entry.payload)
                if await ledger.train(group.group_id, VERSION, 1, entry.id):
                    self.trained[group.group_id] += 1

    def staying(self, name: str, count: int) -> "contextlib.AbstractAsyncContextManager[Tasks]":
        """`count` nodes that stay as long as the block runs."""
        nodes = (self._node(f"{name}-{index}", asyncio.Event()) for index in range(count))
        return together(*nodes)

    def moving(
        self, name: str, count: int, rng: random.Random
    ) -> "contextlib.AbstractAsyncContextManager[Tasks]":
        """`count` nodes, each of them up about half of the time."""
        nodes = (
            self._come_and_go(f"{name}-{index}", random.Random(rng.random()))
            for index in range(count)
        )
        return together(*nodes)

    async def _node(self, name: str, stop: asyncio.Event) -> None:
        self.presence.change(1)
        try:
            await run_node(self.config, name, self._processor, self.pause_s, stop)
        finally:
            self.presence.change(-1)

    async def _come_and_go(self, name: str, rng: random.Random) -> None:
        """Stay and stay away in turn; half of the departures are kills, the others drains."""
        here = rng.random() < 0.5
        while True:
            seconds = rng.expovariate(1.0 / self.stay_s)
            if here:
                await self._stay(name, seconds, kill=rng.random() < 0.5)
            else:
                await asyncio.sleep(seconds)
            here = not here

    async def _stay(self, name: str, seconds: float, kill: bool) -> None:
        stop = asyncio.Event()
        node = asyncio.create_task(self._node(name, stop))
        try:
            await asyncio.wait({node}, timeout=seconds)
            if node.done():
                node.result()
            if not kill:
                stop.set()
                await node
            self.killed, self.drained = self.killed + kill, self.drained + (not kill)
        finally:
            await end(node)

    async def waiting(self) -> int:
        """Tasks that no node has taken."""
        tasks = await self.client.xlen(self.keys.prompts)
        pending = await self.client.xpending(self.keys.prompts, CONSUMER_GROUP)
        return int(tasks) - int(pending["pending"])

    async def work_off(self, within_s: float) -> Counts:
        """Issue no more groups, wait until those in flight are settled, and return the counts.

        Raises:
            TimeoutError: when they are not settled within `within_s`.
        """
        self._stop_feeding.set()
        async with asyncio.timeout(within_s):
            while (counts := await self.ledger.counts()).in_flight:
                await asyncio.sleep(0.2)
        return counts


Tasks = list["asyncio.Task[None]"]


@contextlib.asynccontextmanager
async def together(*work: Coroutine[Any, Any, None]) -> AsyncIterator[Tasks]:
    """Tasks that run during the block and are ended with it.

    Raises:
        TimeoutError: when they do not end within `END_S`.
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield tasks
    finally:
        async with asyncio.timeout(END_S):
            await asyncio.gather(*map(end, tasks))


def prepare(folder: Path, url: str, nodes: int, seed: int) -> Config:
    """Write model, data and configuration."""
    processor = build_processor()
    save(build_model(processor, seed=0), processor, folder / "model")
    write_data(folder / "data", train=400, held_out=3, skew=1.0, seed=seed)
    content = settings(folder, url, nodes)
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return Config.model_validate(content)
