"""What the progress line says of a step, in how many columns."""

import io

import pytest

from perl_rl.report.progress import Lines
from perl_rl.report.step_line import TimeLeft, step_line

ROW = {
    "step": 12,
    "time": 1000.0,
    "reward": 0.657,
    "accuracy_all": 0.69,
    "accuracy": 0.62,
    "dropped_share": 0.53,
    "kl": 0.00702,
    "tokens_per_s": 1657.4,
    "wait_s": 0.1,
    "train_s": 1.1,
    "sync_s": 0.0,
}
# As long as figures of a real run get.
LONG = ROW | {
    "step": 1000,
    "reward": -0.66,
    "dropped_share": 1.0,
    "kl": 0.12345,
    "tokens_per_s": 123_456.0,
    "wait_s": 340.2,
    "train_s": 1110.9,
}
STAMP = len("[23:59:59] ")


def test_a_step_is_one_line_in_groups() -> None:
    assert step_line(ROW, 60, 290.0) == (
        "step 12/60  reward 0.66 acc 0.69  drop 53% kl 0.007  1.7k tok/s wait 8%  5m left"
    )
    assert step_line({"step": 1, "accuracy": 0.5}, 60) == "step 1/60  acc 0.50"


@pytest.mark.parametrize("row", [ROW, LONG, LONG | {"alarms": ["kl", "logprob_mismatch"]}])
def test_it_fits_a_hundred_columns(row: dict) -> None:
    assert STAMP + len(step_line(row, 1000, 80_000.0)) <= 100


def test_an_alarm_takes_the_place_of_the_pace() -> None:
    assert step_line(ROW | {"kl": 148.0, "alarms": ["kl"]}, 60, 290.0) == (
        "step 12/60  reward 0.66 acc 0.69  drop 53% kl 148  ALARM kl"
    )


def test_the_time_left_follows_the_pace_of_the_last_steps() -> None:
    left = TimeLeft()
    assert left.after({"step": 1, "time": 100.0}, 60) is None
    assert left.after({"step": 2, "time": 104.0}, 60) == pytest.approx(4.0 * 58)
    for step in range(3, 30):
        found = left.after({"step": step, "time": 104.0 + step}, 60)
    assert found == pytest.approx(31.0), "one second each"
    assert left.after({"step": 20, "time": 500.0}, 60) is None, "a resumed run goes back"
    assert left.after({"step": 60, "time": 9.0}, 60) is None
    assert left.after({"step": 61}, 60) is None


def test_lines_say_the_time_left() -> None:
    out = io.StringIO()
    lines = Lines(out)
    lines.step(ROW, 60)
    lines.step(ROW | {"step": 13, "time": 1002.0}, 60)
    first, second = out.getvalue().splitlines()
    assert first.endswith("wait 8%") and second.endswith("wait 8%  2m left")


def test_a_step_says_which_stage_bounds_the_run_once_it_was_measured() -> None:
    row: dict[str, object] = {"step": 2, "tokens_per_s": 1700.0, "wait_s": 0.1, "train_s": 0.9}
    assert step_line(row | {"bound_by": "rollout"}, 60) == "step 2/60  1.7k tok/s rollout-bound"
    assert step_line(row | {"bound_by": None}, 60) == "step 2/60  1.7k tok/s wait 10%"


def test_a_step_says_how_many_groups_were_skipped() -> None:
    row: dict[str, object] = {"step": 2, "dropped_share": 0.25, "skipped_share": 0.5}
    assert step_line(row, 60) == "step 2/60  drop 25% skip 50%"
