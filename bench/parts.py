"""The parts of `make bench`: what each one runs, and the figures that it gives.

Each part is a program of its own, which writes what it measured as JSON; a part that fails keeps no
other from running.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bench.results import Result

Found = Any
"""What a program wrote with ``--json``."""


@dataclass(frozen=True)
class Part:
    """One program of ``bench/``."""

    module: str
    options: str
    """Of a whole `make bench`."""
    quick: str
    """To see that it works."""
    read: Callable[[Found], Iterable[Result]]
    limit_s: float = 600.0


def _trl(found: Found) -> Iterable[Result]:
    ours, theirs = found["this"], found["trl"]
    ratios = [a["samples_per_s"] / b["samples_per_s"] for a, b in zip(ours, theirs, strict=True)]
    yield Result("trl", "samples/s against TRL's GRPOTrainer", tuple(ratios), 3.5)


def _packed(found: Found) -> Iterable[Result]:
    for shape, ratios in found["shapes"].items():
        what = f"replicated / packed, seconds of a step, {shape}"
        yield Result("packed", what, tuple(ratios), 1.0)


def _service(found: Found) -> Iterable[Result]:
    rates = zip(found["service"], found["engine"], strict=True)
    ratios = tuple(service / engine for service, engine in rates)
    yield Result("service", "tokens/s of the rollout service / bare engine", ratios, 0.95)


def _overlap(found: Found) -> Iterable[Result]:
    nodes = found["rounds"][0]["nodes"]
    ratios = tuple(one["ratio"] for one in found["rounds"])
    what = f"mean step / longer stage, {nodes} node{'s' * (nodes > 1)}"
    yield Result("overlap", what, ratios, 1.1 if nodes == 1 else 1.15, at_least=False)


def _weights(found: Found) -> Iterable[Result]:
    delta, serve = found["delta"], found["stages"]["serve"]
    what = "delta / full bytes, demo's model"
    yield Result("weights", what, tuple(delta["shares"]), delta["aim"], at_least=False)
    rates = (serve["slowest_gb_s"], serve["gb_s"], serve["fastest_gb_s"])
    yield Result("weights", "served", rates, 2.0, unit=" GB/s")
    if "pause" in found:
        pause = found["pause"]
        what = "pause of a push under load / bare load"
        yield Result("weights", what, tuple(pause["ratios"]), pause["aim"], at_least=False)


def _record(found: Found) -> Iterable[Result]:
    yield Result("record", "groups/s, recording on / off", tuple(found["on_off"]), 0.98)


def _control(found: Found) -> Iterable[Result]:
    rounds = [one for one in found if one["side"] == "this"]
    for nodes, ours in itertools.groupby(sorted(rounds, key=_nodes), key=_nodes):
        rates = tuple(one["possible"] for one in ours)
        what = f"trajectories/s that 2 cores carry by CPU time, {nodes} nodes"
        yield Result("control", what, rates, 2000.0, unit="/s")
    costs = {
        nodes: [one["total_ms"] for one in ours]
        for nodes, ours in itertools.groupby(sorted(rounds, key=_nodes), key=_nodes)
    }
    few, many = min(costs), max(costs)
    ratios = tuple(b / a for a, b in zip(costs[few], costs[many], strict=True))
    what = f"CPU time a group, {many} nodes / {few}"
    yield Result("control", what, ratios, 1.2, at_least=False)


def _nodes(one: dict[str, Any]) -> int:
    return int(one["nodes"])


PARTS = {
    "trl": Part("bench.trl", "--rounds 2 --steps 12", "--rounds 1 --steps 3", _trl, 900),
    "packed": Part("bench.packed", "--rounds 6", "--rounds 2", _packed),
    "service": Part(
        "bench.rollout_overhead", "--tasks 128 --rounds 4", "--tasks 16 --rounds 2", _service
    ),
    "overlap": Part("bench.overlap", "--rounds 2", "--rounds 1 --steps 4", _overlap),
    "weights": Part(
        "bench.weights",
        "--gib 0.5 --rounds 4 --engine",
        "--gib 0.125 --rounds 2 --engine",
        _weights,
    ),
    "record": Part("bench.record", "--steps 40 --turn 3", "--steps 12 --turn 2", _record),
    "control": Part(
        "bench.control",
        "--nodes 1 64 --rounds 2",
        "--nodes 1 4 --rounds 1 --seconds 4",
        _control,
    ),
}
