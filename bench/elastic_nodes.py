"""Throughput and account of a run whose rollout nodes come and go, against one whose nodes stay.

Real Redis, feeder, rollout consumers and reward node; a simulated engine that answers after a
pause, and a simulated trainer that settles each group it gets. First as many nodes as come and go
on the average stay; then each of twice as many is there half of the time, half of the departures
without a word (no drain, claims run out). Prints groups a second of both, their ratio, and the
ledger.

    python -m bench.elastic_nodes --minutes 10
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio
import yaml
from transformers import AutoProcessor

from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from perl_rl.embedded_redis import embedded_redis
from services.rollout.consumer import Consumer
from services.rollout.node import Node
from services.trainer.feeder import Feeder
from shared.config import Config
from shared.connection import Patience, connect
from shared.images import ImageStore
from shared.keys import Keys
from shared.ledger import Ledger
from shared.messages import PolicyVersion, ScoredGroup, decode
from shared.policy import PolicyBoard
from shared.queues import WorkStream
from shared.registry import Registry
from shared.sample import load_samples
from tests.faults.simulated_rollout import SimulatedSampler

VERSION = PolicyVersion(incarnation=1, step=0)
PAUSE_S = 2.0
TASKS_A_NODE = 2


def settings(folder: Path, url: str, nodes: int) -> dict[str, Any]:
    """Groups in flight keep all nodes busy, twice over."""
    return {
        "run": "elastic",
        "redis": {"url": url},
        "model": {"path": str(folder / "model")},
        "data": {"train": str(folder / "data" / "train.jsonl")},
        "sampling": {"n": 4},
        "rollout": {
            "concurrent_tasks": TASKS_A_NODE,
            "heartbeat_s": 1.0,
            "lost_after_s": 5.0,
            "drain_timeout_s": 5.0,
            "max_attempts": 50,
        },
        "reward": {"port": 0, "workers": 1, "filter": {"drop_uniform": False}},
        "trainer": {
            "steps": 1_000_000,
            "max_staleness": 0,
            "groups_per_step": 2 * nodes * TASKS_A_NODE,
        },
    }


@dataclass
class Bench:
    """What the nodes share."""

    config: Config
    keys: Keys
    processor: Any
    settled: int = 0
    killed: int = 0
    drained: int = 0

    async def client(self) -> redis.asyncio.Redis:
        """A connection of one's own."""
        assert self.config.redis.url is not None
        return await connect(self.config.redis.url, 30.0)

    async def node(self, name: str, stop: asyncio.Event) -> None:
        """One rollout node until `stop`; cancelled, it leaves without a word."""
        client, node = await self.client(), Node(name, "http://simulated")
        node.loaded(VERSION, 0.0)
        node.set_state("ready")
        rollout, patient = self.config.rollout, Patience(client, name, 30.0)
        images = ImageStore(client, self.keys, 10_000_000, 8 << 20)
        sampler: Any = SimulatedSampler(self.config, images, node, self.processor, PAUSE_S)
        registry = Registry(client, self.keys)

        async def beat() -> None:
            while True:
                await registry.heartbeat(node.info(), rollout.lost_after_s)
                await asyncio.sleep(rollout.heartbeat_s)

        beating = asyncio.create_task(beat())
        try:
            await Consumer(client, self.config, node, sampler, patient).run(stop)
            await registry.leave(name)
        finally:
            beating.cancel()
            await client.aclose()

    async def trainer(self) -> None:
        """Settle every group that comes."""
        client = await self.client()
        stream = WorkStream(client, self.keys.groups, "simulated-trainer")
        ledger = Ledger(client, self.keys)
        await stream.create()
        while True:
            for entry in await stream.read(64, 0.5):
                group = decode(ScoredGroup, entry.payload)
                if await ledger.train(group.group_id, VERSION, 1, entry.id):
                    self.settled += 1

    async def come_and_go(self, name: str, rng: random.Random, period_s: float) -> None:
        """A node that is there about half of the time, until cancelled."""
        await asyncio.sleep(rng.uniform(0.0, period_s))
        while True:
            stop = asyncio.Event()
            working = asyncio.create_task(self.node(name, stop))
            try:
                await asyncio.sleep(rng.uniform(0.5, 1.5) * period_s)
                if rng.random() < 0.5:
                    stop.set()
                    await working
                    self.drained += 1
                else:
                    self.killed += 1
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
            await asyncio.sleep(rng.uniform(0.5, 1.5) * period_s)


async def measure(bench: Bench, nodes: list["asyncio.Task[None]"], seconds: float) -> float:
    """Groups settled a second over `seconds`, after a quarter of that to get going."""
    try:
        await asyncio.sleep(seconds / 4)
        before, began = bench.settled, time.monotonic()
        await asyncio.sleep(seconds)
        for node in nodes:
            if node.done():
                node.result()
        return (bench.settled - before) / (time.monotonic() - began)
    finally:
        for node in nodes:
            node.cancel()
        await asyncio.gather(*nodes, return_exceptions=True)


async def compare(folder: Path, url: str, nodes: int, minutes: float, seed: int) -> None:
    """Both ways, one after the other, and the account."""
    config = Config.model_validate(settings(folder, url, nodes))
    bench = Bench(config, Keys(config.run), AutoProcessor.from_pretrained(folder / "model"))
    client = await bench.client()
    ledger = Ledger(client, bench.keys)
    await ledger.restore({})
    await PolicyBoard(client, bench.keys).announce(VERSION, "http://nobody.invalid")
    feeder = Feeder(client, bench.keys, config, load_samples(folder / "data" / "train.jsonl"))
    stop_feeding, stop = asyncio.Event(), asyncio.Event()
    reward = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perl_rl", "reward", "serve", str(folder / "config.yaml")),
        *("--name", "reward-0"),
    )
    feeding = asyncio.create_task(feeder.run(VERSION.incarnation, stop_feeding))
    training = asyncio.create_task(bench.trainer())
    try:
        steady = [asyncio.create_task(bench.node(f"steady-{i}", stop)) for i in range(nodes // 2)]
        base = await measure(bench, steady, minutes * 60 / 4)
        print(f"{nodes // 2} nodes that stay: {base:.2f} groups/s", flush=True)
        rng = random.Random(seed)
        moving = [
            asyncio.create_task(bench.come_and_go(f"moving-{i}", random.Random(rng.random()), 20.0))
            for i in range(nodes)
        ]
        moved = await measure(bench, moving, minutes * 60)
        print(
            f"{nodes} nodes, each there half of the time: {moved:.2f} groups/s, ratio "
            f"{moved / base:.3f}; {bench.drained} drained, {bench.killed} left without a word"
        )
        counts = await ledger.counts()
        print(f"ledger: {counts.model_dump()}, balanced: {counts.balanced()}")
    finally:
        stop_feeding.set()
        for task in (feeding, training):
            task.cancel()
        await asyncio.gather(feeding, training, return_exceptions=True)
        with contextlib.suppress(ProcessLookupError):
            reward.terminate()
        await reward.wait()
        await client.aclose()


def main() -> None:
    """Prepare a folder and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processor = build_processor()
        save(build_model(processor, seed=0), processor, folder / "model")
        write_data(folder / "data", train=400, held_out=3, skew=1.0, seed=options.seed)
        with embedded_redis(folder / "redis") as server:
            content = settings(folder, server.url, options.nodes)
            (folder / "config.yaml").write_text(yaml.safe_dump(content))
            asyncio.run(compare(folder, server.url, options.nodes, options.minutes, options.seed))


if __name__ == "__main__":
    main()
