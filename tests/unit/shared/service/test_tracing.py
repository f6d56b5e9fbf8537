"""Spans on their way to a real collector, which may be slow, refuse them or not be there."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from perl_rl.cli.main import main
from shared.config.tracing import TracingConfig
from shared.errors import UserError
from shared.service.ports import free_port
from shared.service.tracing import NO_SPANS, Spans
from shared.wire.messages import PolicyVersion
from tests.collector import Collector, collecting
from tests.paths import ROOT
from tests.waiting import wait_until

START = PolicyVersion(incarnation=1, step=0)


@dataclass(frozen=True)
class Task:
    group_id: str
    issued_at: PolicyVersion = START


@pytest.fixture(scope="module")
def collector():
    with collecting() as found:
        yield found


@pytest.fixture
def traced(collector: Collector):
    collector.spans.clear()
    collector.answers = 200
    opened: list[Spans] = []

    def spans(service: str, share: float = 1.0, url: str = collector.url) -> Spans:
        config = TracingConfig(enabled=True, endpoint=url, share=share)
        opened.append(Spans("run", config, service, f"{service}-0"))
        return opened[-1]

    yield spans
    for one in opened:
        one.close()


def test_spans_of_two_services_meet_in_one_trace(traced, collector):
    trainer, rollout = traced("trainer"), traced("rollout")
    rollout.of(Task("g1")).span("sample", 100.5, 103.0, **{"perl.order": 2})
    trainer.of(Task("g1")).whole(100.0, 110.0, **{"perl.state": "trained:1"})
    # Delivered a second time: another span of the same trace.
    rollout.of(Task("g1")).span("sample", 104.0, 105.0)
    rollout.of(Task("g2")).span("sample", 104.0, 103.0)
    for one in (trainer, rollout):
        one.close()

    first = [span for span in collector.spans if span.attributes.get("perl.state")]
    (root,) = first
    assert (root.name, root.service, root.node) == ("group", "perl-trainer", "trainer-0")
    assert (root.parent, root.began, root.ended) == (b"", 100.0, 110.0)
    assert root.attributes == {"perl.group": "g1", "perl.state": "trained:1"}
    children = [span for span in collector.spans if span.trace == root.trace and span != root]
    assert [(span.name, span.service, span.parent) for span in children] == [
        ("sample", "perl-rollout", root.id),
        ("sample", "perl-rollout", root.id),
    ]
    assert [span.ended - span.began for span in children] == pytest.approx([2.5, 1.0])
    assert children[0].attributes == {"perl.order": 2}
    (other,) = (span for span in collector.spans if span.trace != root.trace)
    assert other.began == other.ended, "a clock that is behind makes no negative length"


def test_another_incarnation_is_another_trace(traced, collector):
    spans = traced("trainer")
    for incarnation in (1, 2):
        task = Task("g1", PolicyVersion(incarnation=incarnation, step=0))
        spans.of(task).whole(1.0, 2.0)
    spans.close()
    assert len({span.trace for span in collector.spans}) == 2


def test_all_services_choose_the_same_share_of_the_groups(traced):
    trainer, rollout = traced("trainer", share=0.25), traced("rollout", share=0.25)
    names = [f"g{number}" for number in range(4000)]
    chosen = {name for name in names if trainer.of(Task(name))}
    assert chosen == {name for name in names if rollout.of(Task(name))}
    assert 0.2 < len(chosen) / len(names) < 0.3
    nobody = traced("trainer", share=0.0)
    assert not any(nobody.of(Task(name)) for name in names)


@pytest.mark.slow
def test_a_collector_that_is_not_there_costs_spans_and_no_time(traced, caplog):
    spans = traced("rollout", url=f"http://127.0.0.1:{free_port()}/v1/traces")
    began = time.monotonic()
    for number in range(10_000):
        spans.of(Task(f"g{number}")).span("sample", 1.0, 2.0)
    assert time.monotonic() - began < 5.0, "nobody waits for the network"
    assert spans.dropped >= 10_000 - 2048, "the queue is bounded"

    wait_until(lambda: "takes no spans" in caplog.text, "a line in the log", 30.0)
    assert caplog.text.count("takes no spans") == 1
    registry = CollectorRegistry()
    registry.register(spans)
    assert f"perl_spans_dropped_total {float(spans.dropped)}" in generate_latest(registry).decode()
    began = time.monotonic()
    spans.close()
    assert time.monotonic() - began < 5.0, "the end waits a few seconds at most"


@pytest.mark.slow
def test_spans_that_are_refused_are_counted_and_later_ones_are_sent(traced, collector):
    spans = traced("reward")
    collector.answers = 400
    spans.of(Task("g1")).span("score", 1.0, 2.0)
    wait_until(lambda: spans.dropped == 1, "the refusal", 30.0)

    collector.answers = 200
    spans.of(Task("g2")).span("score", 1.0, 2.0)
    wait_until(lambda: len(collector.spans) == 1, "the span", 30.0)
    assert spans.dropped == 1


def test_when_it_is_off_nothing_is_imported_and_there_are_no_metrics():
    code = (
        "import sys; from shared.service.tracing import NO_SPANS; "
        "from shared.wire.messages import PolicyVersion; "
        "assert NO_SPANS.of(None) is None; "
        "print(sorted(name for name in sys.modules if 'opentelemetry' in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert list(NO_SPANS.collect()) == []
    NO_SPANS.close()


def test_missing_packages_are_one_line_before_the_start(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setattr("shared.service.tracing.PACKAGES", ("json", "opentelemetry_not_there.sdk"))
    expected = (
        "tracing.enabled: the package opentelemetry_not_there.sdk is missing; "
        "pip install 'perl-rl[tracing]', or set tracing.enabled to false"
    )
    with pytest.raises(UserError) as refused:
        Spans("run", TracingConfig(enabled=True), "reward", "reward-0")
    assert str(refused.value) == expected

    words = ["launch", str(ROOT / "configs/demo.yaml"), "--run-dir", str(tmp_path / "run")]
    assert main([*words, "--set", "tracing.enabled=true"]) == 2
    assert expected in capsys.readouterr().err


def test_an_endpoint_is_an_address():
    with pytest.raises(ValueError, match="must begin with http"):
        TracingConfig(endpoint="localhost:4318")
