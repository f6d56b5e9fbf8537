"""What the pages read of a run by step, while its files are being written and replaced."""

import json
import math
from pathlib import Path

import pytest

from perl_rl.view.index import GroupIndex
from perl_rl.view.series import (
    MetricsFile,
    Series,
    by_reason,
    group_averages,
    held_out,
    joined,
    series,
    smoothed,
    thinned,
)
from shared.errors import UserError
from shared.records.groups import read_groups
from shared.records.steps import METRICS
from tests.group_records import write_run
from tests.view_runs import step_row, write_evaluation, write_metrics


def curve(*values: float | None) -> Series:
    return Series("a", tuple(range(1, len(values) + 1)), values)


def test_a_line_that_is_half_written_waits_for_its_end(tmp_path: Path) -> None:
    second = json.dumps(step_row(2)) + "\n"
    write_metrics(tmp_path, [step_row(1)], rest=second[:40])
    file = MetricsFile(tmp_path)
    assert [row["step"] for row in file.rows()] == [1]
    with (tmp_path / METRICS).open("a") as stream:
        stream.write(second[40:])
    rows = file.rows()
    assert [row["step"] for row in rows] == [1, 2]
    assert "groups" not in rows[1], "ids of groups are not kept in memory"


def test_a_run_without_metrics_has_no_rows(tmp_path: Path) -> None:
    assert MetricsFile(tmp_path).rows() == []


def test_a_file_that_a_resumed_trainer_replaced_is_read_anew(tmp_path: Path) -> None:
    write_metrics(tmp_path, [step_row(step) for step in (1, 2, 3)])
    file = MetricsFile(tmp_path)
    assert len(file.rows()) == 3
    other = tmp_path / "new"
    write_metrics(other, [step_row(1), step_row(2, incarnation=2, kl=0.5)])
    (other / METRICS).replace(tmp_path / METRICS)
    rows = file.rows()
    assert [(row["step"], row["incarnation"]) for row in rows] == [(1, 1), (2, 2)]


def test_a_line_that_is_no_step_is_named(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"reward": 1}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: a line is no record of a step .*reward"):
        MetricsFile(tmp_path).rows()


def test_averages_are_those_of_the_record(tmp_path: Path) -> None:
    write_run(tmp_path, steps=2)
    table = read_groups(tmp_path, ["step", "flipped", "worst_accuracy"]).to_pylist()
    found = group_averages(GroupIndex(tmp_path).read().table)
    for step in (1, 2):
        mine = [row for row in table if row["step"] == step]
        flipped = [row["flipped"] for row in mine if row["flipped"] is not None]
        worst = [row["worst_accuracy"] for row in mine if row["worst_accuracy"] is not None]
        assert found[step]["flip_rate"] == pytest.approx(sum(flipped) / len(flipped))
        assert found[step]["worst_accuracy"] == pytest.approx(sum(worst) / len(worst))
    assert {row["step"] for row in joined([{"step": 2}], found)} == {2}


def test_numbers_that_are_not_finite_are_gaps() -> None:
    rows = [{"step": 1, "kl": math.nan}, {"step": 2, "kl": 0.5}, {"step": 3}]
    assert series(rows, "kl", "KL").values == (None, 0.5, None)


def test_smoothing_is_the_mean_of_the_last_known_values() -> None:
    assert smoothed(curve(1, None, 3, 5, 7), 3).values == (1, None, 2, 3, 5)
    assert smoothed(curve(1, 2), 1).values == (1, 2)


def test_thinning_keeps_every_peak_and_both_ends() -> None:
    values = [0.0] * 1000
    values[123], values[777] = 9.0, -9.0
    thin = thinned(curve(*values), 100)
    assert len(thin.steps) <= 102
    assert dict(thin.known()) | {124: 9.0, 778: -9.0} == dict(thin.known())
    assert (thin.steps[0], thin.steps[-1]) == (1, 1000)


def test_reasons_have_a_series_each_with_zeros() -> None:
    rows = [
        {"step": 1, "dropped": {"stale": 2}},
        {"step": 2, "dropped": {"uniform_reward": 3}, "skipped": {"easy": 1}},
    ]
    found = by_reason(rows, {"dropped": "", "skipped": "skipped: "})
    assert {one.label: one.values for one in found} == {
        "stale": (2.0, 0.0),
        "uniform_reward": (0.0, 3.0),
        "skipped: easy": (0.0, 1.0),
    }


def test_evaluations_are_curves_with_intervals(tmp_path: Path) -> None:
    assert held_out(tmp_path).series == ()
    for step, accuracy in ((0, 0.5), (10, 0.7)):
        write_evaluation(tmp_path, step, accuracy)
    accuracy_curve = held_out(tmp_path).series[0]
    assert accuracy_curve.known() == [(0, 0.5), (10, 0.7)]
    assert accuracy_curve.spans[1] == pytest.approx((0.65, 0.75))


def test_evaluations_of_other_questions_make_no_curve(tmp_path: Path) -> None:
    write_evaluation(tmp_path, 0, 0.5)
    write_evaluation(tmp_path, 10, 0.7, digest="b" * 64)
    with pytest.raises(UserError, match="asked different things"):
        held_out(tmp_path)


def test_a_damaged_evaluation_is_named(tmp_path: Path) -> None:
    write_evaluation(tmp_path, 0, 0.5)
    (tmp_path / "evaluations" / "step-000000.json").write_text('{"accuracy": 1}')
    with pytest.raises(UserError, match=r"step-000000\.json: is no evaluation"):
        held_out(tmp_path)
