"""Traces of a real run: every group's way through feeder, rollout, reward and two ranks."""

from collections import defaultdict
from itertools import pairwise

import pytest

from shared.records.groups import read_groups
from tests.collector import Span
from tests.integration.signals_run import GROUPS, STEPS, SignalsRun

pytestmark = pytest.mark.timeout(600)

TICK_S = 0.05
"""Times come from several processes and from Redis, which counts milliseconds."""
ORDERS = 2
ONCE = {"issue", "assemble", "intake wait", "train", "publish"}
EACH_ORDER = {"prompt queue", "sample", "trajectory queue", "score"}


@pytest.fixture(scope="module")
def traces(signals_run: SignalsRun) -> dict[str, list[Span]]:
    """By group, the spans of its trace, its root first; only settled groups have a root."""
    by_trace: dict[bytes, list[Span]] = defaultdict(list)
    for span in signals_run.spans:
        by_trace[span.trace].append(span)
    whole = [sorted(spans, key=lambda one: one.name != "group") for spans in by_trace.values()]
    return {spans[0].attributes["perl.group"]: spans for spans in whole if spans[0].name == "group"}


def names(spans: list[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = defaultdict(list)
    for span in spans[1:]:
        found[span.name].append(span)
    return found


def test_every_trained_group_has_every_part_once(traces, signals_run: SignalsRun) -> None:
    trained = [name for row in signals_run.metrics for name in row["groups"]]
    assert len(trained) == STEPS * GROUPS
    for name in trained:
        root, parts = traces[name][0], names(traces[name])
        assert parts.keys() == ONCE | EACH_ORDER, name
        for part, spans in parts.items():
            assert len(spans) == (ORDERS if part in EACH_ORDER else 1), (name, part)
            assert {span.parent for span in spans} == {root.id}
        assert root.parent == b""
        assert root.attributes["perl.state"].startswith("trained:")
        assert {span.attributes["perl.order"] for span in parts["sample"]} == {0, 1}


def test_dropped_groups_say_why(traces, signals_run: SignalsRun) -> None:
    dropped = sum(signals_run.summary["groups"]["dropped"].values())
    states = [spans[0].attributes["perl.state"] for spans in traces.values()]
    assert sum(state.startswith("dropped:") for state in states) == dropped
    for spans in traces.values():
        if spans[0].attributes["perl.state"].startswith("dropped:uniform"):
            assert names(spans).keys() == (ONCE | EACH_ORDER) - {"intake wait", "train", "publish"}


def test_each_service_sends_its_own_parts(traces) -> None:
    senders: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for spans in traces.values():
        for span in spans:
            senders[span.name].add((span.service, span.node))
    assert senders["group"] == senders["issue"] == {("perl-trainer", "trainer")}
    assert senders["prompt queue"] == senders["sample"] == {("perl-rollout", "rollout-0")}
    for part in ("trajectory queue", "score", "assemble"):
        assert senders[part] == {("perl-reward", "reward-0")}
    for part in ("intake wait", "train", "publish"):
        assert senders[part] == {("perl-trainer", "rank-0")}


def test_parts_follow_each_other_within_the_whole(traces, signals_run: SignalsRun) -> None:
    for row in signals_run.metrics:
        for name in row["groups"]:
            root, parts = traces[name][0], names(traces[name])
            assert all(
                root.began - TICK_S <= span.began and span.ended <= root.ended + TICK_S
                for spans in parts.values()
                for span in spans
            )
            for order in range(ORDERS):
                way = [
                    next(one for one in parts[part] if one.attributes["perl.order"] == order)
                    for part in ("prompt queue", "sample", "trajectory queue", "score")
                ]
                in_order(way)
            way = [parts[part][0] for part in ("issue", "assemble", "intake wait", "train")]
            in_order(way)
            assert parts["train"][0].ended <= parts["publish"][0].began + TICK_S


def in_order(way: list[Span]) -> None:
    # A part ends when its script has returned; the next one's queue begins within the script.
    for before, after in pairwise(way):
        assert before.began <= after.began + TICK_S, (before, after)
        assert before.ended <= after.ended + TICK_S, (before, after)


def test_durations_are_those_that_the_run_recorded(traces, signals_run: SignalsRun) -> None:
    recorded = read_groups(signals_run.folder, ["group_id", "order_sampled_s"]).to_pylist()
    seconds = {row["group_id"]: row["order_sampled_s"] for row in recorded}
    for row in signals_run.metrics:
        for name in row["groups"]:
            parts = names(traces[name])
            (train,) = parts["train"]
            assert train.attributes["perl.step"] == row["step"]
            assert train.ended - train.began == pytest.approx(row["train_s"], abs=0.5)
            sampled = {one.attributes["perl.order"]: one for one in parts["sample"]}
            for order, lasted_s in enumerate(seconds[name]):
                span = sampled[order]
                # The span has the images' fetch and the hand-over too.
                assert lasted_s - 0.01 <= span.ended - span.began <= lasted_s + 2.0
