"""``summary.json`` from metrics, ledger and nodes, worked by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from perl_rl.report.summary import MetricsTail, plain_robustness, read_metrics, summarise
from shared.records.summary import RunSummary
from shared.wire.counts import Counts
from shared.wire.registry import NodeInfo
from shared.wire.runstate import TrainerState

TRAINER = TrainerState(dtype="bfloat16", device="cpu")


def row(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "step": step,
        "samples": 12,
        "samples_generated": 24,
        "generated_tokens": 100 * step,
        "tokens_per_s": 50.0,
        "rollout_s": 1.0 * step,
        "reward_s": 0.1,
        "train_s": 2.0,
        "wait_s": 0.5,
        "sync_s": 0.2,
        "logprob_mismatch_abs": 0.01 * step,
        "logprob_mismatch_kl": None,
    } | changes


def write(file: Path, *rows: dict[str, Any], end: str = "\n") -> None:
    with file.open("a") as stream:
        stream.write("".join(json.dumps(one) + "\n" for one in rows[:-1]))
        stream.write(json.dumps(rows[-1]) + end)


def node(name: str, *paused_s: float) -> NodeInfo:
    return NodeInfo(
        name=name,
        kind="rollout",
        url="http://h",
        state="ready",
        version="1.3",
        versions_loaded=3,
        paused_s=paused_s,
    )


def test_totals_medians_and_means() -> None:
    counts = Counts(issued=10, trained=6, in_flight=1, dropped={"uniform": 3}, skipped={"easy": 4})
    nodes = [node("rollout-0", 0.1, 0.3), node("rollout-1", 0.2)]
    metrics = [row(1), row(2), row(3, rollout_s=9.0, tokens_per_s=100.0)]
    evaluation = {"before": None, "after": None}
    summary = summarise(
        metrics, counts, nodes, {"rollout-1": 2}, 42.0, evaluation, "done", TRAINER, 12
    )
    assert set(RunSummary.model_validate(summary).model_dump()) == set(summary)
    assert summary["steps"] == 3
    assert summary["resumed_after"] == []
    assert (summary["dtype"], summary["device"]) == ("bfloat16", "cpu")
    assert summary["groups"] == {
        "issued": 10,
        "trained": 6,
        "dropped": {"uniform": 3},
        "in_flight": 1,
        "skipped": {"easy": 4},
    }
    assert summary["responses"] == 9 * 12
    assert (summary["samples_trained"], summary["samples_generated"]) == (36, 72)
    assert summary["wall_s"] == 42.0
    assert summary["rollout_s"] == 2.0
    assert summary["sync_paused_s"] == 0.2
    assert summary["generated_tokens"] == 600
    assert summary["tokens_per_s"] == 50.0
    assert summary["logprob_mismatch"] == {"abs": pytest.approx(0.02), "kl": None}
    taken = {one["name"]: (one["versions_loaded"], one["restarts"]) for one in summary["nodes"]}
    assert taken == {"rollout-0": (3, 0), "rollout-1": (3, 2)}


def test_a_run_without_a_step_has_no_medians() -> None:
    summary = summarise([], Counts(), [], {}, 1.0, {}, "interrupted", TRAINER, 12)
    assert summary["steps"] == 0
    assert summary["train_s"] is None
    assert summary["tokens_per_s"] is None


def test_a_step_trained_again_counts_once_and_a_torn_line_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, row(1), row(2, reward=0.1), row(2, reward=0.9), row(3))
    write(file, row(4), end="")
    assert [(one["step"], one.get("reward")) for one in read_metrics(file)] == [
        (1, None),
        (2, 0.9),
        (3, None),
    ]
    assert read_metrics(tmp_path / "missing.jsonl") == []


def test_the_tail_gives_each_new_line_once_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, row(1))
    tail = MetricsTail(file)
    assert tail.new() == []
    text = json.dumps(row(2))
    with file.open("a") as stream:
        stream.write(text[:10])
    assert tail.new() == []
    with file.open("a") as stream:
        stream.write(text[10:] + "\n")
    assert [one["step"] for one in tail.new()] == [2]
    assert tail.new() == []


def test_the_tail_gives_a_step_trained_again_after_a_resume_again(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, row(1), row(2))
    tail = MetricsTail(file)
    write(file, row(3))
    assert [one["step"] for one in tail.new()] == [3]
    write(file, row(2, incarnation=2), row(3, incarnation=2))
    assert [one["step"] for one in tail.new()] == [2, 3]


def test_a_report_shows_values_first_and_intervals_apart() -> None:
    report = {
        "items": 3,
        "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6},
        "by_source": {"option": {"accuracy": 0.1}},
    }
    assert plain_robustness(report) == {
        "items": 3,
        "accuracy": 0.5,
        "by_source": {"option": {"accuracy": 0.1}},
        "intervals_95": {"accuracy": [0.4, 0.6]},
    }


def idle(rollout: float | None, reward: float | None, trainer: float | None) -> dict[str, Any]:
    shares = {"rollout": rollout, "reward": reward, "trainer": trainer}
    return {f"{stage}_idle_share": share for stage, share in shares.items()}


def test_idle_shares_are_weighted_by_the_time_of_their_steps() -> None:
    metrics = [
        row(1, step_s=None, **idle(None, None, None)),
        row(2, step_s=1.0, **idle(0.4, 0.8, 0.0)),
        row(3, step_s=3.0, **idle(0.0, 1.0, 0.4)),
        row(4, step_s=2.0, **idle(None, None, 0.6)),
    ]
    summary = summarise(metrics, Counts(), [], {}, 1.0, {}, "done", TRAINER, 12)
    assert summary["step_s"] == 2.0
    assert summary["idle_share"] == {
        "rollout": pytest.approx(0.1),
        "reward": pytest.approx(0.95),
        "trainer": pytest.approx(0.4),
    }
    assert summary["bound_by"] == "rollout"


def test_without_measured_steps_nothing_bounds_the_run() -> None:
    summary = summarise([row(1)], Counts(), [], {}, 1.0, {}, "done", TRAINER, 12)
    assert set(summary["idle_share"].values()) == {None}
    assert summary["bound_by"] is None
