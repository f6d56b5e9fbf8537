"""A line of ``metrics.jsonl``: what was trained and what was sampled are counted apart."""

from pathlib import Path

import pytest

from perl_rl.report.summary import read_metrics
from services.trainer.compute.loss import LossSums
from services.trainer.compute.selection import select
from services.trainer.rank import metrics
from services.trainer.rank.metrics import StepTimes, step_metrics, write_metrics
from shared.config import ObjectiveConfig
from shared.wire.messages import PolicyVersion, ScoredGroup
from tests.builders import group

TRAINED_AT = PolicyVersion(incarnation=2, step=5)


def sums_of(*groups: ScoredGroup) -> LossSums:
    """What the loss counts of groups that were trained on as they are."""
    return LossSums(
        responses=sum(len(one.rewards()) for one in groups),
        tokens=sum(one.response_tokens() for one in groups),
    )


def report_on(groups: list[ScoredGroup], sums: LossSums) -> dict:
    times = StepTimes()
    times.waited()
    return step_metrics(6, groups, sums, None, times, TRAINED_AT, ObjectiveConfig())


def test_only_responses_that_selection_kept_count_as_trained() -> None:
    # Each group: two orders with answers of 3 and 5 tokens, of which two answers are kept.
    groups = [group(), group()]
    kept = [select(one, keep=2) for one in groups]
    tokens = sum(one.response_tokens() for one in kept)
    assert [len(one.rewards()) for one in kept] == [2, 2]

    report = report_on(groups, sums_of(*kept))

    assert (report["samples"], report["samples_generated"]) == (4, 8)
    assert (report["trained_tokens"], report["generated_tokens"]) == (tokens, 32)
    assert tokens < 32
    assert report["mean_response_tokens"] == pytest.approx(4.0), "of all that were sampled"


def test_without_selection_all_that_was_sampled_is_trained() -> None:
    report = report_on([group()], sums_of(group()))
    assert report["samples"] == report["samples_generated"] == 4
    assert report["trained_tokens"] == report["generated_tokens"] == 16


def test_orders_sampled_from_distorted_images_are_counted() -> None:
    clean = group()
    first, second = clean.orders
    task = second.batch.task
    shown = {"images": ("01" * 32, "23" * 32), "clean_images": task.images}
    batch = second.batch.model_copy(update={"task": task.model_copy(update=shown)})
    noisy = clean.model_copy(update={"orders": (first, second.model_copy(update={"batch": batch}))})

    assert report_on([clean], sums_of(clean))["noisy_orders"] == 0
    assert report_on([clean, noisy], sums_of(clean, noisy))["noisy_orders"] == 1


@pytest.mark.parametrize("torn", ["", '{"step": 3, "rew', "}" * 20_000])
def test_a_line_that_a_kill_cut_short_is_replaced(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "metrics.jsonl"
    figures = {"reward": 0.5, "accuracy": 0.5, "wait_s": 0.0, "train_s": 0.0}
    for step in (1, 2):
        write_metrics(file, {"step": step, **figures})
    with file.open("a") as stream:
        stream.write(torn)

    write_metrics(file, {"step": 3, **figures})

    assert [row["step"] for row in read_metrics(file)] == [1, 2, 3]
    assert file.read_text().count("\n") == 3


def test_a_first_line_that_a_kill_cut_short_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1')
    write_metrics(file, {"step": 1, "reward": 0.0, "accuracy": 0.0, "wait_s": 0.0, "train_s": 0.0})
    assert [row["step"] for row in read_metrics(file)] == [1]


def test_the_start_of_the_nodes_is_no_part_of_the_first_step(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    times = StepTimes()
    now[0] = 160.0
    times.waited(began=157.0)
    assert times.wait_s == 3.0
    now[0] = 161.0
    times.trained()
    times.published()
    later = StepTimes()
    now[0] = 165.0
    later.waited(began=157.0)
    assert (times.train_s, later.wait_s) == (1.0, 4.0)
