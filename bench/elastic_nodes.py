"""Compare the throughput of rollout nodes that come and go with that of nodes that stay.

`bench.elastic_cluster` says what is real. There are three phases. First half of the nodes stay.
Then all nodes come and go at random: each is up half of the time, and half of the departures are
kills (no drain, the claims run out). Last, as many nodes stay as were up on average in the second
phase. Prints groups per second and node for each phase, the ratio of the second to the others with
an interval over windows of 30 s, whether the machine or the nodes were the limit, and the ledger's
counts. Exits with status 1 when a group was lost or trained twice, or the counts do not balance.

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
"""Length of each steady phase, as a share of the elastic one's."""


@dataclass(frozen=True)
class Phase:
    """What was measured in one phase."""

    windows: list[Window]
    registered: float
    """Mean number of nodes whose heartbeat had not run out; includes killed ones for a while."""
    fewest: int
    most: int
    waiting: int
    """The smallest number of tasks that no node had taken."""
    unbalanced: int
    """Checks in which the ledger did not balance."""
    checks: int
    load: str


class Observer:
    """Checks the cluster once a second."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def phase(self, nodes: Tasks, settle_s: float, seconds: float) -> Phase:
        """Wait `settle_s`, then measure for `seconds`."""
        await asyncio.sleep(settle_s)
        load, windows, checks = Load(), [], []
        count = max(2, round(seconds / WINDOW_S))
        async with together(load.lag()):
            for _ in range(count):
                windows.append(await self._window(seconds / count, checks))
                for node in nodes:
                    if node.done():
                        node.result()
            busy = str(load)
        return Phase(
            windows=windows,
            registered=sum(registered for registered, *_ in checks) / len(checks),
            fewest=min(there for _, there, *_ in checks),
            most=max(there for _, there, *_ in checks),
            waiting=min(waiting for *_, waiting, _ in checks),
            unbalanced=sum(not balanced for *_, balanced in checks),
            checks=len(checks),
            load=busy,
        )

    async def _window(self, seconds: float, checks: list[tuple[int, int, int, bool]]) -> Window:
        cluster, began = self._cluster, time.monotonic()
        node_s, trained = cluster.presence.node_s(), cluster.trained.total()
        while (left := began + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_EVERY_S))
            alive, _ = await cluster.registry.nodes()
            registered = sum(node.kind == "rollout" for node in alive)
            counts = await cluster.ledger.counts()
            checks.append(
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
        f"{title}: {mean_nodes(phase.windows):.2f} nodes on average ({phase.fewest} to "
        f"{phase.most}; {phase.registered:.2f} registered), {per_second(phase.windows):.3f} "
        f"groups/s, per node {rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}] = "
        f"{rate.value / allowed:.1%} of what their pauses allow\n"
        f"  at least {phase.waiting} tasks waiting; ledger in balance at "
        f"{phase.checks - phase.unbalanced} of {phase.checks} checks\n  {phase.load}",
        flush=True,
    )


async def compare(cluster: Cluster, nodes: int, seconds: float, seed: int) -> bool:
    """Run all three phases; returns whether no group was lost and all counts agree."""
    observer, rng = Observer(cluster), random.Random(seed)
    settle_s, steady_s = 4 * cluster.pause_s, STEADY_SHARE * seconds
    async with cluster.staying("before", nodes // 2) as tasks:
        before = await observer.phase(tasks, settle_s, steady_s)
        show("steady", before, cluster)
    cluster.killed = cluster.drained = 0
    async with cluster.moving("moving", nodes, rng) as tasks:
        elastic = await observer.phase(tasks, settle_s + cluster.stay_s, seconds)
        show(f"elastic, {nodes} nodes that come and go", elastic, cluster)
        print(f"  {cluster.drained} nodes drained, {cluster.killed} killed without notice")
    async with cluster.staying("after", round(mean_nodes(elastic.windows))) as tasks:
        after = await observer.phase(tasks, settle_s, steady_s)
        show("steady", after, cluster)
        counts = await cluster.work_off(within_s=60.0 + 10 * cluster.pause_s)
    one = ratio(elastic.windows, before.windows + after.windows)
    print(
        f"elastic / steady, groups/s per node: {one.value:.3f} [{one.low:.3f}, {one.high:.3f}] "
        "(aim: at least 0.9)"
    )
    balanced = not any(phase.unbalanced for phase in (before, elastic, after))
    return await account(cluster, counts.model_dump(), balanced and counts.balanced())


async def account(cluster: Cluster, counts: dict[str, object], balanced: bool) -> bool:
    """Compare the ledger with the simulated trainer's own counts; returns whether all agree."""
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
    """Returns 0 when no group was lost and all counts agree, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--nodes", type=int, default=64)
    add("--minutes", type=float, default=10.0, help="of coming and going; steady phases add half")
    add("--pause-s", type=float, default=4.0, help="mean time of a task in the simulated engine")
    add("--stay-s", type=float, default=40.0, help="mean time of a node's stay, and of its absence")
    add("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, embedded_redis(Path(name) / "redis") as server:
        return 0 if asyncio.run(run(Path(name), server.url, options)) else 1


if __name__ == "__main__":
    sys.exit(main())
