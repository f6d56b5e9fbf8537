"""Throughput and account of a run whose rollout nodes come and go, against one whose nodes stay.

See `bench.elastic_cluster` for what is real. Half of the nodes stay for a while; then all of them
come and go at random, each there half of the time, half of the departures without a word (no drain,
claims run out); then as many stay as there were on the average. Prints groups a second and node of
all three, the ratio of the second to the others with an interval over windows of 30 s, whether the
machine or the nodes were the limit, and the account of groups. Exit status 1 when that does not
add up.

    python -m bench.elastic_nodes [--nodes 64] [--minutes 10]
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.elastic_cluster import ORDERS, TASKS_A_NODE, Cluster, Tasks, prepare, together
from bench.load import Load
from bench.windows import Window, mean_nodes, per_node, per_second, ratio
from perl_rl.launch.embedded_redis import embedded_redis
from shared.service.connection import connect

WINDOW_S = 30.0
LOOK_EVERY_S = 1.0
STEADY_SHARE = 0.25
"""Each of the two steady phases takes this share of the elastic one's time."""


@dataclass(frozen=True)
class Phase:
    """What was seen of some nodes."""

    windows: list[Window]
    registered: float
    """Nodes whose heartbeat had not run out, on the average: a killed one for a while too."""
    fewest: int
    most: int
    waiting: int
    """The fewest tasks that no node had taken."""
    unbalanced: int
    """How often the ledger did not balance."""
    looks: int
    load: str


class Observer:
    """Looks at the cluster once a second."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def phase(self, nodes: Tasks, settle_s: float, seconds: float) -> Phase:
        """Measure for `seconds`, once `settle_s` have passed."""
        await asyncio.sleep(settle_s)
        load, windows, looks = Load(), [], []
        count = max(2, round(seconds / WINDOW_S))
        async with together(load.lag()):
            for _ in range(count):
                windows.append(await self._window(seconds / count, looks))
                for node in nodes:
                    if node.done():
                        node.result()
            busy = str(load)
        return Phase(
            windows=windows,
            registered=sum(registered for registered, *_ in looks) / len(looks),
            fewest=min(there for _, there, *_ in looks),
            most=max(there for _, there, *_ in looks),
            waiting=min(waiting for *_, waiting, _ in looks),
            unbalanced=sum(not balanced for *_, balanced in looks),
            looks=len(looks),
            load=busy,
        )

    async def _window(self, seconds: float, looks: list[tuple[int, int, int, bool]]) -> Window:
        cluster, began = self._cluster, time.monotonic()
        node_s, trained = cluster.presence.node_s(), cluster.trained.total()
        while (left := began + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_EVERY_S))
            alive, _ = await cluster.registry.nodes()
            registered = sum(node.kind == "rollout" for node in alive)
            counts = await cluster.ledger.counts()
            looks.append(
                (registered, cluster.presence.now, await cluster.waiting(), counts.balanced())
            )
        return Window(
            seconds=time.monotonic() - began,
            node_s=cluster.presence.node_s() - node_s,
            groups=cluster.trained.total() - trained,
        )


def show(title: str, phase: Phase, cluster: Cluster) -> None:
    """Print one phase."""
    rate, allowed = per_node(phase.windows), TASKS_A_NODE / ORDERS / cluster.pause_s
    print(
        f"{title}: {mean_nodes(phase.windows):.2f} nodes on the average ({phase.fewest} to "
        f"{phase.most}; {phase.registered:.2f} registered), {per_second(phase.windows):.3f} "
        f"groups/s, by node {rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}] = "
        f"{rate.value / allowed:.1%} of what their pauses allow\n"
        f"  at least {phase.waiting} tasks waiting; ledger in balance at "
        f"{phase.looks - phase.unbalanced} of {phase.looks} looks\n  {phase.load}",
        flush=True,
    )


async def compare(cluster: Cluster, nodes: int, seconds: float, seed: int) -> bool:
    """All three phases and the account; whether it adds up."""
    observer, rng = Observer(cluster), random.Random(seed)
    settle_s, steady_s = 4 * cluster.pause_s, STEADY_SHARE * seconds
    async with cluster.staying("before", nodes // 2) as tasks:
        before = await observer.phase(tasks, settle_s, steady_s)
        show("steady", before, cluster)
    cluster.killed = cluster.drained = 0
    async with cluster.moving("moving", nodes, rng) as tasks:
        elastic = await observer.phase(tasks, settle_s + cluster.stay_s, seconds)
        show(f"elastic, {nodes} nodes that come and go", elastic, cluster)
        print(f"  {cluster.drained} times drained, {cluster.killed} times gone without a word")
    async with cluster.staying("after", round(mean_nodes(elastic.windows))) as tasks:
        after = await observer.phase(tasks, settle_s, steady_s)
        show("steady", after, cluster)
        counts = await cluster.work_off(within_s=60.0 + 10 * cluster.pause_s)
    one = ratio(elastic.windows, before.windows + after.windows)
    print(
        f"elastic / steady, groups/s by node: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}] "
        "(aim: at least 0.9)"
    )
    balanced = not any(phase.unbalanced for phase in (before, elastic, after))
    return await account(cluster, counts.model_dump(), balanced and counts.balanced())


async def account(cluster: Cluster, counts: dict[str, object], balanced: bool) -> bool:
    """Compare the ledger with what the simulated trainer has seen; whether all adds up."""
    settled = await cluster.ledger.settled()
    numbers = {int(name.removeprefix("g")) for name in settled}
    lost = max(numbers) + 1 - len(numbers)
    twice = sum(times > 1 for times in cluster.trained.values())
    by_ledger = {name for name, state in settled.items() if state.startswith("trained")}
    disagree = len(by_ledger ^ cluster.trained.keys())
    print(
        f"ledger: {counts}; {lost} groups lost, {twice} trained twice, {disagree} on which ledger "
        f"and trainer disagree; in balance: {balanced}"
    )
    return balanced and not (lost or twice or disagree)


async def run(folder: Path, url: str, options: argparse.Namespace) -> bool:
    """Prepare and compare."""
    config = prepare(folder, url, options.nodes, options.seed)
    client = await connect(url, 30.0)
    cluster = Cluster(folder, config, client, options.pause_s, options.stay_s)
    try:
        async with cluster.working():
            return await compare(cluster, options.nodes, 60.0 * options.minutes, options.seed)
    finally:
        await client.aclose()


def main() -> int:
    """Returns 0 when the account adds up, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--nodes", type=int, default=64)
    add("--minutes", type=float, default=10.0, help="of coming and going; steady: half of it more")
    add("--pause-s", type=float, default=4.0, help="a task's time in the simulated engine, mean")
    add("--stay-s", type=float, default=40.0, help="a node's stay, and its absence, mean")
    add("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, embedded_redis(Path(name) / "redis") as server:
        return 0 if asyncio.run(run(Path(name), server.url, options)) else 1


if __name__ == "__main__":
    sys.exit(main())
